/**
 * Reference of the command line, from its own tables: flags with their variables, and exit codes.
 *
 * @module
 */
import type { ExitCodes } from "../../../mod/cli/exit_codes.ts";
import { SUBCOMMANDS } from "../../../mod/cli/commands/subcommands.ts";
import {
  environmentName,
  FLAG_GROUPS,
  type FlagDefinition,
} from "../../../mod/cli/flags/flag_definition.ts";
import { FLAGS } from "../../../mod/cli/flags/flags.ts";
import { markdownTable } from "../generated.ts";

/** Writes a table of flags for each heading of the help text. */
export function flagsSection(): string {
  return FLAG_GROUPS.map((group) => {
    const flags = (FLAGS as readonly FlagDefinition[]).filter((flag) => flag.group === group);
    const rows = flags.map((flag) => [
      `\`-${flag.name}\``,
      group === "general" ? "" : `\`${environmentName(flag.name)}\``,
      valuesOf(flag),
      flag.default === "" ? "" : `\`${flag.default}\``,
      flag.help,
    ]);
    const head = ["flag", "variable", "values", "default", "meaning"];
    return `## ${group[0]!.toUpperCase()}${group.slice(1)}\n\n${markdownTable([head, ...rows])}`;
  }).join("\n");
}

function valuesOf({ kind, choices, range, unit, placeholder = "", repeatable }: FlagDefinition) {
  if (kind === "bool") return "`true`, `false`";
  if (choices !== undefined) return choices.map((choice) => `\`${choice}\``).join(", ");
  const of = kind === "string" || unit === undefined ? placeholder : unit;
  if (range !== undefined) return `${range[0]} to ${range[1]} (${of})`;
  return repeatable ? `${of}, several times` : of;
}

/** Writes the table of exit codes: the agent's, and those of each subcommand. */
export async function exitCodesSection(): Promise<string> {
  const specs = await Promise.all(SUBCOMMANDS.map(async ({ load }) => (await load()).spec));
  const rows = specs.flatMap((spec) => spec.verbs ?? [spec]).map(({ name, exitCodes }) => [
    `\`flanneld ${name}\``,
    ...[0, 1, 3].map((code) => exitCodes[code as keyof ExitCodes] ?? ""),
  ]);
  const agent = ["the agent, `flanneld`", ...AGENT_CODES, ""];
  return markdownTable([["command", "0", "1", "3"], agent, ...rows]);
}

/** Meanings of the agent's codes 0 and 1. */
const AGENT_CODES = ["SIGTERM or SIGINT stopped it", "a [failure](#code-1-of-the-agent)"];
