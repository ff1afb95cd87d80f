/**
 * The Docker daemon's options for a leased subnet, as an environment file: what flannel's
 * mk-docker-opts.sh writes, byte for byte.
 *
 * @module
 */

import { doubleQuote } from "./dotenv.ts";
import { ExportError } from "./errors.ts";

/** Options of {@linkcode dockerOptions}. */
export interface DockerOptionsRequest {
  /** Write one variable for each option. */
  readonly individual: boolean;
  /** Write one variable with all options. */
  readonly combined: boolean;
  /** Name of that variable. */
  readonly key: string;
  /** Tell Docker whether to masquerade. */
  readonly ipMasq: boolean;
}

const OPTION = "DOCKER_OPT_";

/**
 * Computes the file's text.
 *
 * Every `DOCKER_OPT_*` variable goes in, in the order of their names: three come from the subnet,
 * others may be in the environment already. The combined variable keeps the value it has, and one
 * space goes before each option: after an empty value that makes a leading space, after another
 * two. flannel's script has always done so, and people compare files.
 *
 * @param variables the environment, overlaid with what subnet.env says
 * @throws {ExportError} when FLANNEL_IPMASQ is neither `true` nor `false`
 *
 * @example
 * ```ts
 * import { dockerOptions } from "./docker_opts.ts";
 * const text = dockerOptions(new Map([["FLANNEL_MTU", "1450"]]), {
 *   individual: false,
 *   combined: true,
 *   key: "DOCKER_NETWORK_OPTIONS",
 *   ipMasq: true,
 * });
 * console.assert(text === 'DOCKER_NETWORK_OPTIONS=" --mtu=1450"\n');
 * ```
 */
export function dockerOptions(
  variables: ReadonlyMap<string, string>,
  request: DockerOptionsRequest,
): string {
  const options = new Map([...variables].filter(([name]) => name.startsWith(OPTION)));
  const subnet = variables.get("FLANNEL_SUBNET");
  if (subnet) options.set("DOCKER_OPT_BIP", `--bip=${subnet}`);
  const mtu = variables.get("FLANNEL_MTU");
  if (mtu) options.set("DOCKER_OPT_MTU", `--mtu=${mtu}`);
  const ipMasq = variables.get("FLANNEL_IPMASQ");
  if (ipMasq && request.ipMasq) options.set("DOCKER_OPT_IPMASQ", `--ip-masq=${!isTrue(ipMasq)}`);

  const names = [...options.keys()].sort();
  let text = "";
  if (request.individual) {
    for (const name of names) text += `${name}=${doubleQuote(options.get(name)!)}\n`;
  }
  if (request.combined) {
    const inherited = variables.get(request.key);
    const values = names.map((name) => ` ${options.get(name)}`).join("");
    text += `${request.key}=${doubleQuote((inherited ? `${inherited} ` : "") + values)}\n`;
  }
  return text;
}

function isTrue(ipMasq: string): boolean {
  if (ipMasq !== "true" && ipMasq !== "false") {
    throw new ExportError(`Invalid value of FLANNEL_IPMASQ: ${ipMasq} (expected true or false)`);
  }
  return ipMasq === "true";
}
