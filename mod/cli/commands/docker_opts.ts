/**
 * `flanneld docker-opts`: what scripts/mk-docker-opts.sh does, for hosts that want no script.
 *
 * @module
 */

import { Prefix } from "../../ip/mod.ts";
import { writeFileAtomically } from "../../export/atomic_file.ts";
import { dockerOptions } from "../../export/docker_opts.ts";
import { parseDotenv } from "../../export/dotenv.ts";
import { ExportError } from "../../export/errors.ts";
import { findStaleRoute } from "../../export/stale_route.ts";
import type { AgentSubcommand } from "./agent_subcommand.ts";
import { createCommand, parseSubcommand } from "./commander.ts";
import type { Environment } from "../flags/environment.ts";
import { UsageError } from "../errors.ts";
import { EXIT_OK } from "../exit_codes.ts";
import type { RunSubcommand } from "./subcommand.ts";

/** As the options are written. */
interface Options {
  readonly f: string;
  readonly d: string;
  readonly i?: true;
  readonly c?: true;
  readonly m?: true;
  readonly k: string;
}

/** What the subcommand is. */
export const spec: AgentSubcommand = {
  name: "docker-opts",
  summary: "Writes the options of the Docker daemon for the leased subnet, as an environment file.",
  flags: [
    {
      name: "f",
      kind: "string",
      help: "env file that flanneld writes; it is not waited for: where it is missing, the " +
        "variables of the environment are all there is, and no error",
    },
    { name: "d", kind: "string", help: "file to write; its directory is made" },
    { name: "i", kind: "bool", help: "write each option as a variable of its own" },
    {
      name: "c",
      kind: "bool",
      help: "write all options as one variable; both without -i and -c",
    },
    { name: "k", kind: "string", placeholder: "key", help: "name of that variable" },
    { name: "m", kind: "bool", help: "leave --ip-masq out" },
  ],
  exitCodes:
    "0 written, also without an env file; 1 it cannot be, or a route takes the subnet to another host; 2 wrong " +
    "command line.",
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

/** {@linkcode run} with an environment of the caller's. Exported for its test. */
export async function dockerOpts(
  args: readonly string[],
  environment: Environment,
): Promise<number> {
  const command = createCommand(
    "docker-opts",
    spec.summary,
  );
  const defaults = { f: "/run/flannel/subnet.env", d: "/run/docker_opts.env", k: "DOCKER_OPTS" };
  for (const { name, kind, placeholder = "file", help } of spec.flags) {
    if (kind === "bool") command.option(`-${name}`, help);
    else command.option(`-${name} <${placeholder}>`, help, defaults[name as keyof typeof defaults]);
  }
  const done = parseSubcommand(command, args);
  if (done !== undefined) return done;
  const { f, d, i, c, m, k } = command.opts<Options>();
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(k)) {
    throw new UsageError(`Invalid variable name after -k: ${k}`);
  }

  const variables = await readVariables(f, environment);
  const text = dockerOptions(variables, {
    individual: i === true || c !== true,
    combined: c === true || i !== true,
    key: k,
    ipMasq: m !== true,
  });
  await writeFileAtomically(d, text);
  await checkRoutes(variables.get("FLANNEL_SUBNET"));
  return EXIT_OK;
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
