import type { AgentSubcommand, OwnFlag } from "../commands/agent_subcommand.ts";
import { flagsOf } from "../commands/agent_subcommand.ts";
import type { FlagDefinition } from "../flags/flag_definition.ts";
import { FLAGS } from "../flags/flags.ts";
import type { Subcommand } from "../commands/subcommand.ts";

/** Possible values of a flag or an operand. */
export type Values =
  | { readonly type: "words"; readonly words: readonly string[] }
  | { readonly type: "file" | "directory" | "interface" | "other" };

/** A flag for completion. */
export interface CompletedFlag {
  /** Without a dash. */
  readonly name: string;
  readonly help: string;
  /** Absent for a boolean, which never takes the next word. */
  readonly values?: Values;
  readonly repeatable: boolean;
}

/** A position on the command line: before any word (the agent), or after a subcommand or its verb. */
export interface Place {
  /** `""`, `plan`, `config set`. */
  readonly path: string;
  readonly summary: string;
  /** The words that may come next: subcommands or verbs. */
  readonly words: readonly { readonly name: string; readonly summary: string }[];
  readonly operands: Values | undefined;
  /** Its own; those of the agent are {@linkcode CompletionTable.agentFlags}. */
  readonly flags: readonly CompletedFlag[];
  readonly takesAgentFlags: boolean;
}

/** The data of a completion script. */
export interface CompletionTable {
  readonly agentFlags: readonly CompletedFlag[];
  readonly places: readonly Place[];
}

/** Collects the tables of flags and subcommands. */
export async function completionTable(
  subcommands: readonly Subcommand[],
): Promise<CompletionTable> {
  const specs = await Promise.all(subcommands.map(async ({ load }) => (await load()).spec));
  return {
    agentFlags: (FLAGS as readonly FlagDefinition[])
      .filter(({ missing, noEffect }) => missing === undefined && noEffect === undefined)
      .map(completedAgentFlag),
    places: [
      {
        ...{ path: "", summary: "run the agent", operands: undefined, flags: [] },
        words: subcommands.map(({ name, summary }) => ({ name, summary })),
        takesAgentFlags: true,
      },
      ...specs.flatMap((spec) => [spec, ...spec.verbs ?? []]).map(placeOf),
    ],
  };
}

function placeOf(spec: AgentSubcommand): Place {
  const { name, summary, verbs, operands, agentFlags = true } = spec;
  const takesAgentFlags = agentFlags && verbs === undefined;
  return {
    path: name,
    summary: firstClause(summary),
    words: verbs?.map((verb) => ({
      name: verb.name.slice(name.length + 1),
      summary: firstClause(verb.summary),
    })) ?? [],
    operands: operands === undefined
      ? undefined
      : operands.choices === undefined
      ? { type: "file" }
      : { type: "words", words: operands.choices },
    flags: flagsOf(spec).map(completedOwnFlag),
    takesAgentFlags,
  };
}

/** `Prints the config` of `Prints the config as it is stored, and ...` */
function firstClause(summary: string): string {
  return summary.split(/[.,:;] |\.$/)[0]!;
}

function completedAgentFlag(flag: FlagDefinition): CompletedFlag {
  const { name, kind, choices, placeholder = "", help, repeatable = false } = flag;
  const values = kind === "bool" ? {} : { values: valuesOf(name, placeholder, choices) };
  return { name, help: firstClause(help), repeatable, ...values };
}

function completedOwnFlag({ name, kind, placeholder = "file", choices, help }: OwnFlag) {
  const values = kind === "bool" ? {} : { values: valuesOf(name, placeholder, choices) };
  return { name, help: firstClause(help), repeatable: false, ...values };
}

function valuesOf(
  name: string,
  placeholder: string,
  choices: readonly string[] | undefined,
): Values {
  if (choices !== undefined) return { type: "words", words: choices };
  if (name === "iface") return { type: "interface" };
  if (placeholder === "file") return { type: "file" };
  return { type: placeholder === "dir" ? "directory" : "other" };
}
