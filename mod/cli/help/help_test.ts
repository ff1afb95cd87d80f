import { assertEquals } from "@std/assert";
import { environmentName } from "../flags/flag_definition.ts";
import { FLAGS } from "../flags/flags.ts";
import { helpText } from "./help.ts";
import { SUBCOMMANDS } from "../commands/subcommands.ts";

// After a change that is meant: deno run -A main.ts -help > mod/cli/help/help_golden.txt
Deno.test("helpText() is the text in help_golden.txt", async () => {
  const golden = await Deno.readTextFile(new URL("help_golden.txt", import.meta.url));
  assertEquals(helpText(), golden);
});

Deno.test("helpText() names every flag, its variable where one is read, and every subcommand", () => {
  const text = helpText();
  for (const flag of FLAGS) {
    assertEquals(text.includes(` -${flag.name}`), true, flag.name);
    const read = flag.group !== "general" && !("missing" in flag) && !("noEffect" in flag);
    assertEquals(text.includes(`[${environmentName(flag.name)}]`), read, flag.name);
  }
  for (const { name } of SUBCOMMANDS) assertEquals(text.includes(`\n  ${name} `), true, name);
});

Deno.test("helpText() fits into 80 columns and ends with a line feed", () => {
  const lines = helpText().split("\n");
  assertEquals(lines.pop(), "");
  for (const line of lines) assertEquals(line.length <= 80 && !line.endsWith(" "), true, line);
});
