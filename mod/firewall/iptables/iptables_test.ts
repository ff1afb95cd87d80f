import { assertEquals, assertThrows } from "@std/assert";
import { FirewallError } from "../errors.ts";
import { parseVersion } from "./iptables.ts";

Deno.test("parseVersion() distinguishes the kernel's two rule sets", () => {
  for (
    const [text, mode, version] of [
      ["iptables v1.8.11 (nf_tables)\n", "nft", [1, 8, 11]],
      ["iptables v1.8.11 (legacy)\n", "legacy", [1, 8, 11]],
      ["iptables v1.6.1\n", "legacy", [1, 6, 1]],
      ["iptables v1.4.21\n", "legacy", [1, 4, 21]],
      ["iptables v2.0 (nf_tables)\n", "nft", [2, 0, 0]],
    ] as const
  ) assertEquals(parseVersion(text), { mode, version: [...version] }, text);
});

Deno.test("parseVersion() quotes an answer that is no version", () => {
  assertThrows(
    () => parseVersion("applet not found\n"),
    FirewallError,
    'iptables --version answered "applet not found"',
  );
});
