/**
 * The command lines of subcommands: a table of flags and operands each. Most subcommands work for the agent of
 * this host, and so take its flags and use the options that it runs with.
 *
 * @module
 */

import { type AgentCommand, parseAgentFlags, unexpected } from "../flags/agent_flags.ts";
import { agentOfHost, type HostPaths, SYSCONFIG } from "../published/agent_of_host.ts";
import { type ExitCodes, exitCodesText } from "../exit_codes.ts";
import type { Environment } from "../flags/environment.ts";
import { UsageError } from "../errors.ts";
import type { FlagKind, FlagValue, GivenFlag } from "../flags/flag_syntax.ts";

/** A flag of the subcommand alone. */
export interface OwnFlag {
  readonly name: string;
  readonly kind: FlagKind;
  /** Placeholder of the value in the help text. @default "file", and none for a boolean */
  readonly placeholder?: string;
  /** All values that the flag may have. */
  readonly choices?: readonly string[];
  readonly help: string;
}

/** Operands of a subcommand. */
export interface Operands {
  /** Placeholder in the usage line: `[JSON|FILE|-]`. */
  readonly usage: string;
  /** Description in a sentence or two. */
  readonly help: string;
  /** Least and greatest number, both inclusive. */
  readonly count: readonly [number, number];
  /** All words that are allowed. @default files, for completion */
  readonly choices?: readonly string[];
}

/** The command line of a subcommand. */
export interface AgentSubcommand {
  readonly name: string;
  /** One paragraph for its help text. */
  readonly summary: string;
  readonly flags: readonly OwnFlag[];
  /** @default no operands */
  readonly operands?: Operands;
  /** None of one with verbs, which have their own. */
  readonly exitCodes: ExitCodes;
  /** Chosen by the word after the name. @default no such word */
  readonly verbs?: readonly AgentSubcommand[];
  /** False for one that takes none of the agent's flags. @default true */
  readonly agentFlags?: boolean;
  /** Use the options of the last agent, not those that the next one will start with. @default false */
  readonly isAboutLastRun?: boolean;
}

/** The words of a command line, read. */
export interface SubcommandWords {
  /** Values of the subcommand's own flags that were given. */
  readonly own: ReadonlyMap<string, FlagValue>;
  /** The words that are not flags, as many as {@linkcode Operands.count} allows. */
  readonly operands: readonly string[];
}

/** The request for a help text, and the text. */
export interface HelpRequest {
  readonly help: string;
}

/** The words of a subcommand that works for the agent, with the options that they come to. */
export interface AgentSubcommandWords extends SubcommandWords {
  readonly agent: AgentCommand;
}

/** Taken by every subcommand that takes the agent's flags. */
export const SYSCONFIG_FLAG: OwnFlag = {
  name: "sysconfig",
  kind: "string",
  help: `file of variables to use in place of the agent's options, such as ${SYSCONFIG}: what an ` +
    "agent would start with",
};

/**
 * Reads the words after the name of a subcommand that works for the agent.
 *
 * @param environment variables of the process
 * @param paths where the agent's options are. @default those of the host
 * @throws {UsageError} when they cannot be used
 * @throws {ExportError} when the sysconfig file that was given cannot be read
 */
export async function parseAgentSubcommand(
  subcommand: AgentSubcommand,
  args: readonly string[],
  environment: Environment,
  paths?: HostPaths,
): Promise<AgentSubcommandWords | HelpRequest> {
  const words = readWords(subcommand, args);
  if ("help" in words) return words;
  const { isAboutLastRun } = subcommand;
  const agent = await agentOfHost(words.agentFlags, environment, {
    sysconfig: words.own.get("sysconfig") as string | undefined,
    ...isAboutLastRun === undefined ? {} : { isAboutLastRun },
    ...paths === undefined ? {} : { paths },
  });
  return { agent, own: words.own, operands: words.operands };
}

/**
 * Reads the words after the name of a subcommand that takes its own flags alone.
 *
 * @throws {UsageError} when they cannot be used
 */
export function parseSubcommand(
  subcommand: AgentSubcommand,
  args: readonly string[],
): SubcommandWords | HelpRequest {
  return readWords({ ...subcommand, agentFlags: false }, args);
}

/** As {@linkcode SubcommandWords}, with the agent's flags among them. */
interface AllWords extends SubcommandWords {
  readonly agentFlags: readonly GivenFlag[];
}

function readWords(subcommand: AgentSubcommand, args: readonly string[]): AllWords | HelpRequest {
  const own = flagsOf(subcommand);
  const kinds = Object.fromEntries(own.map(({ name, kind }) => [name, kind]));
  const { flags, operands } = parseWords(args, own, subcommand);
  if (flags.some(({ name, value }) => (name === "h" || name === "help") && value === true)) {
    return { help: helpText(subcommand, own) };
  }
  checkOperands(subcommand, operands, flags.at(-1));
  const isOwn = ({ name }: GivenFlag) => Object.hasOwn(kinds, name);
  return {
    own: new Map(flags.filter(isOwn).map(({ name, value }) => [name, value])),
    agentFlags: flags.filter((flag) => !isOwn(flag)),
    operands,
  };
}

/** All flags besides the agent's. */
export function flagsOf({ flags, verbs, agentFlags = true }: AgentSubcommand): readonly OwnFlag[] {
  return agentFlags && verbs === undefined ? [...flags, SYSCONFIG_FLAG] : flags;
}

/** Reads flags before, between and after operands. */
function parseWords(
  args: readonly string[],
  own: readonly OwnFlag[],
  subcommand: AgentSubcommand,
): { readonly flags: readonly GivenFlag[]; readonly operands: readonly string[] } {
  const { flags, rest } = parseAgentFlags(args, {
    own,
    subcommand: subcommand.name,
    agentFlags: subcommand.agentFlags ?? true,
  });
  const isEnded = args[args.length - rest.length - 1] === "--";
  if (subcommand.operands === undefined || rest.length === 0 || isEnded) {
    return { flags, operands: rest };
  }
  const more = parseWords(rest.slice(1), own, subcommand);
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
  throw new UsageError(`${name} needs ${operands!.usage}: ${operands!.help}`, { hint });
}

/** The command line in short: `flanneld config set [flags] JSON|FILE|-`. */
export function usageOf(subcommand: AgentSubcommand): string {
  const { name, operands, agentFlags = true } = subcommand;
  const flags = agentFlags || subcommand.flags.length > 0 ? " [flags]" : "";
  return `flanneld ${name}${flags}${operands === undefined ? "" : ` ${operands.usage}`}`;
}

function helpText(subcommand: AgentSubcommand, own: readonly OwnFlag[]): string {
  const { summary, operands, exitCodes, agentFlags = true } = subcommand;
  const flags = own.map((flag) => `  ${flagWords(flag)}\n${fill(flag.help, "      ")}`);
  const usage = `Usage: ${usageOf(subcommand)}`;
  const words = operands && `\n${fill(operands.help, "")}` || "";
  const agent = agentFlags
    ? `${
      fill(
        "It uses the options of this host's agent, running or stopped. The agent's flags and " +
          "environment variables (flanneld -help=all) take precedence.",
        "",
      )
    }\n`
    : "";
  const list = flags.length === 0 ? "" : `${flags.join("")}\n`;
  return `${usage}\n\n${fill(summary, "")}${words}\n${list}${agent}` +
    fill(exitCodesText(exitCodes), "");
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
