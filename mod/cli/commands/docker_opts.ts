/**
 * `flanneld docker-opts`: scripts/mk-docker-opts.sh without a shell.
 *
 * @module
 */

import { Prefix } from "../../ip/mod.ts";
import { writeFileAtomically } from "../../export/atomic_file.ts";
import { dockerOptions } from "../../export/docker_opts.ts";
import { parseDotenv } from "../../export/dotenv.ts";
import { ExportError } from "../../export/errors.ts";
import { findStaleRoute } from "../../export/stale_route.ts";
import { type AgentSubcommand, parseSubcommand } from "./agent_subcommand.ts";
import { type Environment, givenSettings } from "../flags/environment.ts";
import { UsageError } from "../errors.ts";
import { EXIT_OK } from "../exit_codes.ts";
import { printNote, printOwnText } from "../output.ts";
import { findAgent, type HostPaths } from "../published/agent_of_host.ts";
import { placeOf } from "../published/published_flags.ts";
import type { RunSubcommand } from "./subcommand.ts";

/** Values of the flags that were not given: those of the script. An agent with another subnet file replaces `f`. */
const DEFAULTS = {
  f: "/run/flannel/subnet.env",
  d: "/run/docker_opts.env",
  k: "DOCKER_OPTS",
} as const;

/** Command line of the subcommand. */
export const spec: AgentSubcommand = {
  name: "docker-opts",
  summary: "Write the options of the Docker daemon for the leased subnet, as an environment file.",
  flags: [
    {
      name: "f",
      kind: "string",
      help: "env file that flanneld writes (default: the -subnet-file of this host's agent, " +
        `running or stopped; without an agent ${DEFAULTS.f}); without the file, the variables of ` +
        "the environment are used",
    },
    {
      name: "d",
      kind: "string",
      help: `file to write (default ${DEFAULTS.d}); makes its directory`,
    },
    { name: "i", kind: "bool", help: "write each option as a variable of its own" },
    {
      name: "c",
      kind: "bool",
      help: "write all options as one variable; without -i and -c, both forms are written",
    },
    {
      ...{ name: "k", kind: "string", placeholder: "key" },
      help: `name of that variable (default ${DEFAULTS.k})`,
    },
    { name: "m", kind: "bool", help: "leave out --ip-masq" },
  ],
  exitCodes: {
    0: "written, also without an env file",
    1: "the file cannot be written, or a route sends the subnet to another host",
  },
  agentFlags: false,
};

/**
 * Runs the subcommand with the environment of the process.
 *
 * @throws {UsageError} for options that cannot be used
 * @throws {ExportError} when the env file's FLANNEL_IPMASQ is no boolean, when the output cannot be
 * written, or, after it was, when a route takes the subnet to another host
 */
export const run: RunSubcommand = async (args) => await dockerOpts(args, Deno.env.toObject());

/** {@linkcode run} with the caller's environment and agents. Exported for its test. */
export async function dockerOpts(
  args: readonly string[],
  environment: Environment,
  paths: HostPaths = {},
): Promise<number> {
  const line = parseSubcommand(spec, splitLetters(args));
  if ("help" in line) {
    printOwnText(line.help);
    return EXIT_OK;
  }
  const text = (name: keyof typeof DEFAULTS) => String(line.own.get(name) ?? DEFAULTS[name]);
  const has = (name: string) => line.own.get(name) === true;
  const key = text("k");
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(key)) {
    throw new UsageError(`Invalid variable name after -k: ${key}`);
  }

  const file = line.own.has("f") ? text("f") : await subnetFileOfAgent(environment, paths);
  const variables = await readVariables(file, environment);
  const options = dockerOptions(variables, {
    individual: has("i") || !has("c"),
    combined: has("c") || !has("i"),
    key,
    ipMasq: !has("m"),
  });
  await writeFileAtomically(text("d"), options);
  await checkRoutes(variables.get("FLANNEL_SUBNET"));
  return EXIT_OK;
}

/**
 * Splits words as getopts(1p) reads them for the script: `-icm` is `-i -c -m`, `-f/run/x` is `-f /run/x`. Keeps
 * `-f=/run/x`, `--f` and the values of flags.
 */
function splitLetters(args: readonly string[]): string[] {
  const words: string[] = [];
  for (let at = 0; at < args.length; at++) {
    const word = args[at]!;
    const [, letters = "", valued, rest = ""] = /^-([icm]*)([fdk])?(.*)$/s.exec(word) ?? [];
    const isSplit = letters.length > 0 && (valued !== undefined || rest === "") ||
      valued !== undefined && rest !== "" && !rest.startsWith("=");
    if (!isSplit) words.push(word);
    else {
      words.push(...Array.from(letters, (letter) => `-${letter}`));
      if (valued !== undefined) words.push(`-${valued}${rest.startsWith("=") ? rest : ""}`);
      if (valued !== undefined && rest !== "" && !rest.startsWith("=")) words.push(rest);
    }
    if (valued !== undefined && rest === "" && at + 1 < args.length) words.push(args[++at]!);
  }
  return words;
}

/** The script's file also where the agent has one for each of several networks. */
async function subnetFileOfAgent(environment: Environment, paths: HostPaths): Promise<string> {
  const name = "FLANNELD_SUBNET_FILE";
  const { agent, note } = await findAgent(givenSettings([], { [name]: environment[name] }), paths);
  if (note !== undefined) printNote(note.replaceAll("-subnet-file=", "-f "));
  const place = agent && placeOf(agent);
  return place?.flag === "subnet-file" ? place.path : DEFAULTS.f;
}

async function readVariables(path: string, environment: Environment): Promise<Map<string, string>> {
  const variables = new Map<string, string>();
  for (const [name, value] of Object.entries(environment)) {
    if (value !== undefined) variables.set(name, value);
  }
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return variables;
    throw ExportError.from(`cannot read ${path}`, cause);
  }
  for (const [name, value] of parseDotenv(text)) variables.set(name, value);
  return variables;
}

async function checkRoutes(subnet: string | undefined): Promise<void> {
  const prefix = Prefix.parse(subnet ?? "");
  if (prefix === undefined) return;
  const stale = findStaleRoute(await Deno.readTextFile("/proc/net/route"), prefix);
  if (stale !== undefined) {
    throw new ExportError(`Your routing table already contains the subnet: ${stale}`);
  }
}
