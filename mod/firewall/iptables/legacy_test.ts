import { assertEquals } from "@std/assert";
import { Prefix } from "../../ip/mod.ts";
import { legacyRules } from "./legacy.ts";
import { FORWARD_CHAIN, MASQUERADE_CHAIN } from "../rules.ts";

const NETWORK = {
  network: Prefix.parse("10.20.0.0/16")!,
  subnet: Prefix.parse("10.20.93.0/24")!,
};

/** Rules of 0.7.1, as iptables-save prints them. */
const V0_7_1 = [
  "-s 10.20.0.0/16 -d 10.20.0.0/16 -j RETURN",
  "-s 10.20.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE",
  "! -s 10.20.0.0/16 -d 10.20.0.0/16 -j MASQUERADE",
];

/** Rules of 0.8 to 0.19, the later of which ask for random ports. */
const V0_19 = [
  "-s 10.20.0.0/16 -d 10.20.0.0/16 -j RETURN",
  "-s 10.20.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully",
  "! -s 10.20.0.0/16 -d 10.20.93.0/24 -j RETURN",
  "! -s 10.20.0.0/16 -d 10.20.0.0/16 -j MASQUERADE --random-fully",
];

/** Rules of Docker, of an operator, and of flannel for other networks. */
const FOREIGN = [
  "-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
  "-s 10.20.0.0/16 -o eth0 -j MASQUERADE",
  "-s 10.20.0.0/16 -p tcp ! -d 224.0.0.0/4 -j MASQUERADE",
  '-s 10.20.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "manual" -j MASQUERADE',
  "! -s 10.20.0.0/16 -d 10.20.94.0/24 -j RETURN",
  "-s 10.21.0.0/16 -d 10.21.0.0/16 -j RETURN",
  "-s 10.21.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE",
  '-m comment --comment "flanneld masq" -j FLANNEL-POSTRTG',
];

function mix(...lists: readonly string[][]): string[] {
  return lists.flat().sort();
}

Deno.test("legacyRules() finds 0.7.1's three rules and no others", () => {
  const found = legacyRules(MASQUERADE_CHAIN, mix(V0_7_1, FOREIGN), [NETWORK]);
  assertEquals(found.sort(), mix(V0_7_1));
});

Deno.test("legacyRules() finds the four rules of 0.8 to 0.19 and no others", () => {
  const found = legacyRules(MASQUERADE_CHAIN, mix(V0_19, FOREIGN), [NETWORK]);
  assertEquals(found.sort(), mix(V0_19));
});

Deno.test("legacyRules() finds the rules of the previous network and subnet", () => {
  const previous = {
    network: Prefix.parse("10.21.0.0/16")!,
    subnet: Prefix.parse("10.21.5.0/24")!,
  };
  const old = V0_19.map((rule) =>
    rule.replaceAll("10.20.0.0", "10.21.0.0").replaceAll("10.20.93.0", "10.21.5.0")
  );
  assertEquals(legacyRules(MASQUERADE_CHAIN, old, [NETWORK]), []);
  assertEquals(legacyRules(MASQUERADE_CHAIN, old, [NETWORK, previous]).sort(), mix(old));
});

Deno.test("legacyRules() finds commented rules of any network", () => {
  const commented = V0_19.map((rule) =>
    rule.replaceAll("10.20.", "10.99.").replace(
      / -j /,
      ' -m comment --comment "flanneld masq" -j ',
    )
  );
  assertEquals(
    legacyRules(MASQUERADE_CHAIN, mix(commented, FOREIGN), [NETWORK]).sort(),
    mix(commented),
  );
});

Deno.test("legacyRules() leaves RETURN rules alone without flannel's MASQUERADE", () => {
  const returns = V0_19.filter((rule) => rule.endsWith("RETURN"));
  assertEquals(legacyRules(MASQUERADE_CHAIN, mix(returns, FOREIGN), [NETWORK]), []);
});

Deno.test("legacyRules() finds what a teardown that failed half-way left", () => {
  const left = V0_7_1.slice(2);
  assertEquals(legacyRules(MASQUERADE_CHAIN, left, [NETWORK]), left);
});

Deno.test("legacyRules() takes rules in FORWARD only by their comment", () => {
  const flannels = [
    '-s 10.20.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT',
    '-d 10.20.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT',
  ];
  const others = [
    "-s 10.20.0.0/16 -j ACCEPT",
    "-d 10.20.0.0/16 -j ACCEPT",
    '-m comment --comment "flanneld forward" -j FLANNEL-FWD',
  ];
  assertEquals(legacyRules(FORWARD_CHAIN, mix(flannels, others), [NETWORK]).sort(), mix(flannels));
});
