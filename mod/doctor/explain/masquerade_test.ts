import { assertEquals } from "@std/assert";
import { parseIPv4, Prefix } from "../../ip/mod.ts";
import { isMasqueraded } from "./masquerade.ts";

const SPEC = {
  ...{ network: Prefix.parse("10.20.0.0/16")!, subnet: Prefix.parse("10.20.1.0/24")! },
  ...{ ipMasq: true, forward: true, randomFully: true },
};

/** Source, destination, and whether the source becomes this host's address. */
const PACKETS: readonly (readonly [string, string, boolean])[] = [
  ["10.20.1.2", "10.20.65.2", false],
  ["10.20.65.2", "10.20.1.2", false],
  ["10.20.1.2", "8.8.8.8", true],
  ["10.20.65.2", "8.8.8.8", true],
  ["10.20.1.2", "224.0.0.251", false],
  ["192.168.1.1", "10.20.1.2", false],
  ["192.168.1.1", "10.20.65.2", true],
  ["192.168.1.1", "8.8.8.8", false],
];

Deno.test("isMasqueraded() follows the rules that the agent installs", () => {
  for (const [from, to, expected] of PACKETS) {
    const packet = { source: parseIPv4(from)!, destination: parseIPv4(to)! };
    assertEquals(isMasqueraded(SPEC, packet), expected, `${from} to ${to}`);
    assertEquals(isMasqueraded({ ...SPEC, ipMasq: false }, packet), false);
  }
});
