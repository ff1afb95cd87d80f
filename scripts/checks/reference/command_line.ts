/**
 * Reference of the command line, from its own tables: flags with their variables, and exit codes.
 *
 * @module
 */
import { SUBCOMMANDS } from "../../../mod/cli/commands/subcommands.ts";
import {
  environmentName,
  FLAG_GROUPS,
  type FlagDefinition,
} from "../../../mod/cli/flags/flag_definition.ts";
import { FLAGS } from "../../../mod/cli/flags/flags.ts";
import { EXIT_CODES } from "../../../mod/cli/help/man_page.ts";
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

/** Writes the table of the program's exit codes, and the one of its subcommands. */
export async function exitCodesSection(): Promise<string> {
  const specs = await Promise.all(SUBCOMMANDS.map(async ({ load }) => (await load()).spec));
  const rows = specs.flatMap((spec) => spec.verbs ?? [spec]).map(({ name, exitCodes }) => [
    `\`flanneld ${name}\``,
    exitCodes,
  ]);
  return `${markdownTable([["code", "meaning"], ...EXIT_CODES.map(([code, text]) => [code, text])])}
## Subcommands

${markdownTable([["command", "exit codes"], ...rows])}`;
}
