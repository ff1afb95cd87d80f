import { assertEquals } from "@std/assert";
import { environmentName } from "../flags/flag_definition.ts";
import { FLAGS } from "../flags/flags.ts";
import { fullHelpText, helpText } from "./help.ts";
import { SUBCOMMANDS } from "../commands/subcommands.ts";

// After a change that is meant: deno run -A main.ts -help=all > mod/cli/help/help_golden.txt
Deno.test("fullHelpText() is the text in help_golden.txt", async () => {
  const golden = await Deno.readTextFile(new URL("help_golden.txt", import.meta.url));
  assertEquals(fullHelpText(), golden);
});

Deno.test("fullHelpText() names every flag, its variable where one is read, and every subcommand", () => {
  const text = fullHelpText();
  for (const flag of FLAGS) {
    assertEquals(text.includes(` -${flag.name}`), true, flag.name);
    const read = flag.group !== "general" && !("missing" in flag) && !("noEffect" in flag);
    assertEquals(text.includes(`[${environmentName(flag.name)}]`), read, flag.name);
  }
  for (const { name } of SUBCOMMANDS) assertEquals(text.includes(`\n  ${name} `), true, name);
});

Deno.test("helpText() names every flag that has an effect, and every subcommand, on one screen", () => {
  const text = helpText();
  assertEquals(text.split("\n").length <= 52, true, text);
  for (const flag of FLAGS) {
    const isOf = !("missing" in flag) && !("noEffect" in flag);
    assertEquals(new RegExp(` -${flag.name}\\b(?!-)`).test(text), isOf, flag.name);
  }
  for (const { name } of SUBCOMMANDS) assertEquals(text.includes(`\n  ${name} `), true, name);
});

Deno.test("helpText() and fullHelpText() fit into 80 columns and end with a line feed", () => {
  for (const text of [helpText(), fullHelpText()]) {
    const lines = text.split("\n");
    assertEquals(lines.pop(), "");
    for (const line of lines) assertEquals(line.length <= 80 && !line.endsWith(" "), true, line);
  }
});
