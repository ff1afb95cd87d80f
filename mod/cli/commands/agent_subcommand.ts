/**
 * Subcommands that do something for the agent of this host, and so take its flags and read its
 * environment: run by hand, they find what systemd gives the agent in the package's sysconfig file.
 *
 * @module
 */

import { parseDotenv } from "../../export/dotenv.ts";
import { ExportError, reasonOf } from "../../export/errors.ts";
import {
  type AgentCommand,
  agentCommand,
  parseAgentFlags,
  unexpected,
} from "../flags/agent_flags.ts";
import type { Environment } from "../flags/environment.ts";
import { UsageError } from "../errors.ts";
import type { FlagKind, FlagValue, GivenFlag } from "../flags/flag_syntax.ts";

/** What systemd starts the agent with, as the CentOS package has it. */
const SYSCONFIG = "/etc/sysconfig/flanneld";

/** A flag of the subcommand alone. */
export interface OwnFlag {
  readonly name: string;
  readonly kind: FlagKind;
  /** What stands for the value in the help text. @default "file", and none for a boolean */
  readonly placeholder?: string;
  /** The only values there are. */
  readonly choices?: readonly string[];
  readonly help: string;
}

/** Words that a subcommand takes besides flags. */
export interface Operands {
  /** As the usage line has them: `[JSON|FILE|-]`. */
  readonly usage: string;
  /** What they are, in a sentence or two. */
  readonly help: string;
  /** How many at least and at most, both inclusive. */
  readonly count: readonly [number, number];
  /** The only words there are. @default files, for completion */
  readonly choices?: readonly string[];
}

/** What a subcommand of this kind is. */
export interface AgentSubcommand {
  readonly name: string;
  /** One paragraph for its help text. */
  readonly summary: string;
  readonly flags: readonly OwnFlag[];
  /** @default it takes none */
  readonly operands?: Operands;
  /** Its exit codes, in a sentence. */
  readonly exitCodes: string;
  /** The word after the name chooses one of these. @default there is no such word */
  readonly verbs?: readonly AgentSubcommand[];
  /** False for one that takes none of the agent's flags. @default true */
  readonly agentFlags?: boolean;
}

/** What its command line comes to. */
export type AgentSubcommandLine =
  | { readonly help: string }
  | {
    readonly agent: AgentCommand;
    /** Values of the subcommand's own flags that were given. */
    readonly own: ReadonlyMap<string, FlagValue>;
    /** The words that are no flags, as many as {@linkcode Operands.count} allows. */
    readonly operands: readonly string[];
  };

/** What every subcommand of this kind takes. */
export const SYSCONFIG_FLAG: OwnFlag = {
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
  const { flags, operands } = parseWords(args, kinds, subcommand);
  if (flags.some(({ name, value }) => (name === "h" || name === "help") && value === true)) {
    return { help: helpText(subcommand, own) };
  }
  checkOperands(subcommand, operands, flags.at(-1));
  const given = new Map(
    flags.filter(({ name }) => Object.hasOwn(kinds, name)).map(({ name, value }) => [name, value]),
  );
  const { variables, warnings } = await readSysconfig(given.get("sysconfig") as string | undefined);
  const agent = agentCommand(flags.filter(({ name }) => !Object.hasOwn(kinds, name)), {
    ...variables,
    ...environment,
  });
  return {
    agent: { ...agent, warnings: [...agent.warnings, ...warnings] },
    own: given,
    operands,
  };
}

/** Where words other than flags are expected, flags may follow them, too. */
function parseWords(
  args: readonly string[],
  kinds: Readonly<Record<string, FlagKind>>,
  subcommand: AgentSubcommand,
): { readonly flags: readonly GivenFlag[]; readonly operands: readonly string[] } {
  const helps = Object.fromEntries(
    [...subcommand.flags, SYSCONFIG_FLAG].filter(({ name }) => Object.hasOwn(kinds, name))
      .map(({ name, kind, help }) => [name, kind === "bool" ? "true or false" : help]),
  );
  const { flags, rest } = parseAgentFlags(args, kinds, subcommand.name, helps);
  const isEnded = args[args.length - rest.length - 1] === "--";
  if (subcommand.operands === undefined || rest.length === 0 || isEnded) {
    return { flags, operands: rest };
  }
  const more = parseWords(rest.slice(1), kinds, subcommand);
  return { flags: [...flags, ...more.flags], operands: [rest[0]!, ...more.operands] };
}

function checkOperands(
  { name, operands }: AgentSubcommand,
  words: readonly string[],
  last: GivenFlag | undefined,
): void {
  const hint = `Run 'flanneld ${name} -h' for its flags.`;
  const [least, most] = operands?.count ?? [0, 0];
  if (words.length > most) throw unexpected(words[most]!, last, hint);
  if (words.length >= least) return;
  throw new UsageError(`flanneld ${name} needs ${operands!.usage}: ${operands!.help}`, { hint });
}

/**
 * Reads the flannel variables of a sysconfig file. Ignores the default file when it is missing or unreadable:
 * where a package installed it, only root can read it.
 */
async function readSysconfig(path: string | undefined): Promise<{
  readonly variables: Environment;
  readonly warnings: readonly string[];
}> {
  try {
    const text = await Deno.readTextFile(path ?? SYSCONFIG);
    const variables = [...parseDotenv(text)].filter(([name]) => name.startsWith("FLANNEL"));
    return { variables: Object.fromEntries(variables), warnings: [] };
  } catch (cause) {
    if (path === undefined && cause instanceof Deno.errors.NotFound) {
      return { variables: {}, warnings: [] };
    }
    const message = `cannot read ${path ?? SYSCONFIG}: ${reasonOf(cause)}`;
    if (path === undefined && cause instanceof Deno.errors.PermissionDenied) {
      return { variables: {}, warnings: [`${message}; using none of its settings (run as root)`] };
    }
    throw new ExportError(message, { cause });
  }
}

function helpText(
  { name, summary, operands, exitCodes }: AgentSubcommand,
  own: readonly OwnFlag[],
): string {
  const flags = own.map((flag) => `  ${flagWords(flag)}\n${fill(flag.help, "      ")}`);
  const usage = `Usage: flanneld ${name} [flags]${operands && ` ${operands.usage}` || ""}`;
  const words = operands && `\n${fill(operands.help, "")}` || "";
  return `${usage}\n\n${fill(summary, "")}${words}\n${flags.join("")}\n` +
    fill(
      "Besides, it takes the flags of the agent and reads its environment variables, as " +
        "flanneld -help lists them: run it with those that the agent is run with.",
      "",
    ) + `\n${fill(`Exit codes: ${exitCodes}`, "")}`;
}

function flagWords({ name, kind, placeholder = "file" }: OwnFlag): string {
  return kind === "bool" ? `-${name}` : `-${name} ${placeholder}`;
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
