/**
 * Subcommands that do something for the agent of this host, and so take its flags and read its
 * environment: run by hand, they find what systemd gives the agent in the package's sysconfig file.
 *
 * @module
 */

import { parseDotenv } from "../export/dotenv.ts";
import { ExportError, reasonOf } from "../export/errors.ts";
import { type AgentCommand, agentCommand, parseAgentFlags, unexpected } from "./agent_flags.ts";
import type { Environment } from "./environment.ts";
import type { FlagKind, FlagValue } from "./flag_syntax.ts";

/** What systemd starts the agent with, as the CentOS package has it. */
const SYSCONFIG = "/etc/sysconfig/flanneld";

/** A flag of the subcommand alone. */
export interface OwnFlag {
  readonly name: string;
  readonly kind: FlagKind;
  readonly help: string;
}

/** What a subcommand of this kind is. */
export interface AgentSubcommand {
  readonly name: string;
  /** One paragraph for its help text. */
  readonly summary: string;
  readonly flags: readonly OwnFlag[];
  /** Its exit codes, in a sentence. */
  readonly exitCodes: string;
}

/** What its command line comes to. */
export type AgentSubcommandLine =
  | { readonly help: string }
  | {
    readonly agent: AgentCommand;
    /** Values of the subcommand's own flags that were given. */
    readonly own: ReadonlyMap<string, FlagValue>;
  };

const SYSCONFIG_FLAG: OwnFlag = {
  name: "sysconfig",
  kind: "string",
  help: `file to read the variables from that are not in the environment (default ${SYSCONFIG}, ` +
    "if there is one)",
};

/**
 * Reads the words after the subcommand's name.
 *
 * @param environment variables in it win over those in the sysconfig file
 * @throws {UsageError} when they cannot be used
 * @throws {ExportError} when the sysconfig file that was given cannot be read
 */
export async function parseAgentSubcommand(
  subcommand: AgentSubcommand,
  args: readonly string[],
  environment: Environment,
): Promise<AgentSubcommandLine> {
  const own = [...subcommand.flags, SYSCONFIG_FLAG];
  const kinds = Object.fromEntries(own.map(({ name, kind }) => [name, kind]));
  const { flags, rest } = parseAgentFlags(args, kinds);
  if (flags.some(({ name, value }) => (name === "h" || name === "help") && value === true)) {
    return { help: helpText(subcommand, own) };
  }
  if (rest.length > 0) {
    throw unexpected(rest[0]!, flags.at(-1), `Run 'flanneld ${subcommand.name} -h' for its flags.`);
  }
  const given = new Map(
    flags.filter(({ name }) => Object.hasOwn(kinds, name)).map(({ name, value }) => [name, value]),
  );
  const variables = await readSysconfig(given.get("sysconfig") as string | undefined);
  return {
    agent: agentCommand(flags.filter(({ name }) => !Object.hasOwn(kinds, name)), {
      ...variables,
      ...environment,
    }),
    own: given,
  };
}

/** The flannel variables of a sysconfig file; of the default one only if there is one. */
async function readSysconfig(path: string | undefined): Promise<Environment> {
  let text: string;
  try {
    text = await Deno.readTextFile(path ?? SYSCONFIG);
  } catch (cause) {
    if (path === undefined && cause instanceof Deno.errors.NotFound) return {};
    throw new ExportError(`cannot read ${path ?? SYSCONFIG}: ${reasonOf(cause)}`, { cause });
  }
  return Object.fromEntries([...parseDotenv(text)].filter(([name]) => name.startsWith("FLANNEL")));
}

function helpText({ name, summary, exitCodes }: AgentSubcommand, own: readonly OwnFlag[]): string {
  const flags = own.map((flag) =>
    `  -${flag.name}${flag.kind === "bool" ? "" : " file"}\n${fill(flag.help, "      ")}`
  );
  return `Usage: flanneld ${name} [flags]\n\n${fill(summary, "")}\n${flags.join("")}\n` +
    fill(
      "Besides, it takes the flags of the agent and reads its environment variables, as " +
        "flanneld -help lists them: run it with those that the agent is run with.",
      "",
    ) + `\n${fill(`Exit codes: ${exitCodes}`, "")}`;
}

/** Breaks a text into lines of up to 80 columns at its spaces. */
function fill(text: string, indent: string): string {
  let lines = "";
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && indent.length + line.length + 1 + word.length > 80) {
      lines += `${indent}${line}\n`;
      line = "";
    }
    line += (line === "" ? "" : " ") + word;
  }
  return `${lines}${indent}${line}\n`;
}
