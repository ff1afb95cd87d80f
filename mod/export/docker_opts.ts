/**
 * The Docker daemon's options for a leased subnet as an environment file, byte for byte as flannel's
 * mk-docker-opts.sh writes it.
 *
 * @module
 */

import { doubleQuote } from "./dotenv.ts";
import { ExportError } from "./errors.ts";

/** Options of {@linkcode dockerOptions}. */
export interface DockerOptionsRequest {
  /** Write one variable per option. */
  readonly individual: boolean;
  /** Write one variable with all options. */
  readonly combined: boolean;
  /** Name of that variable. */
  readonly key: string;
  /** Write Docker's option `--ip-masq`. */
  readonly ipMasq: boolean;
}

const OPTION = "DOCKER_OPT_";

/**
 * Computes the file's text.
 *
 * Writes all `DOCKER_OPT_*` variables in the order of their names: three of the subnet, and others of the
 * environment. The combined variable keeps its value, followed by each option with one space before it. An
 * empty value therefore leads to a leading space, and any other to two spaces, as in flannel's script.
 *
 * @param variables the environment, overlaid with the variables of subnet.env
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
