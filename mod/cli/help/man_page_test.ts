import { assertEquals, assertStringIncludes } from "@std/assert";
import { environmentName } from "../flags/flag_definition.ts";
import { FLAGS } from "../flags/flags.ts";
import { manPage } from "./man_page.ts";
import { SUBCOMMANDS } from "../commands/subcommands.ts";

/** Formats a page as man(1) does, with all warnings. */
async function groff(page: string): Promise<{ text: string; warnings: string }> {
  const child = new Deno.Command("groff", {
    args: ["-man", "-ww", "-Tutf8", "-rLL=100n", "-P-cbou"],
    env: { LC_ALL: "C.UTF-8" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(page));
  await writer.close();
  const { stdout, stderr } = await child.output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { text: text(stdout), warnings: text(stderr) };
}

Deno.test("manPage() is a page that groff has no warning of", async () => {
  assertEquals((await groff(await manPage(SUBCOMMANDS))).warnings, "");
  // And it would have.
  assertStringIncludes((await groff(".TH X 8\n.SH A\n.nosuch\n")).warnings, "nosuch");
});

Deno.test("manPage() lists every flag with an effect, and every subcommand", async () => {
  const { text } = await groff(await manPage(SUBCOMMANDS));
  for (const flag of FLAGS) {
    const there = !("missing" in flag) && !("noEffect" in flag);
    assertEquals(new RegExp(`^ +-${flag.name}( |$)`, "m").test(text), there, flag.name);
    if (there && flag.group !== "general") assertStringIncludes(text, environmentName(flag.name));
  }
  for (const { name } of SUBCOMMANDS) assertStringIncludes(text, `flanneld ${name} `);
  assertStringIncludes(text, "flanneld config set [flags] JSON|FILE|-");
  assertStringIncludes(text, `'{"Network": "10.20.0.0/16", "Backend": {"Type": "vxlan"}}'`);
});
