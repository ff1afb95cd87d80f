import { assertEquals } from "@std/assert";
import { Prefix } from "../ip/mod.ts";
import { desiredRules, FORWARD_CHAIN, jumpRule, MASQUERADE_CHAIN, RAW_CHAIN } from "./rules.ts";
import { joinWords } from "./iptables/save_format.ts";
import type { FirewallSpec } from "./firewall_spec.ts";

const SPEC: FirewallSpec = {
  network: Prefix.parse("10.20.0.0/16")!,
  subnet: Prefix.parse("10.20.93.0/24")!,
  ipMasq: true,
  forward: true,
  randomFully: true,
};

Deno.test("desiredRules() masquerades as newer flannel does", () => {
  assertEquals(desiredRules(MASQUERADE_CHAIN, SPEC)!.map(joinWords), [
    '-m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN',
    '-s 10.20.93.0/24 -d 10.20.0.0/16 -m comment --comment "flanneld masq" -j RETURN',
    '-s 10.20.0.0/16 -d 10.20.93.0/24 -m comment --comment "flanneld masq" -j RETURN',
    '! -s 10.20.0.0/16 -d 10.20.93.0/24 -m comment --comment "flanneld masq" -j RETURN',
    '-s 10.20.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" ' +
    "-j MASQUERADE --random-fully",
    '! -s 10.20.0.0/16 -d 10.20.0.0/16 -m comment --comment "flanneld masq" ' +
    "-j MASQUERADE --random-fully",
  ]);
});

Deno.test("desiredRules() leaves --random-fully out when it is not wanted", () => {
  const rules = desiredRules(MASQUERADE_CHAIN, { ...SPEC, randomFully: false })!;
  assertEquals(rules.slice(4).map((rule) => rule.slice(-2)), [
    ["-j", "MASQUERADE"],
    ["-j", "MASQUERADE"],
  ]);
});

Deno.test("desiredRules() accepts from and to the network", () => {
  assertEquals(desiredRules(FORWARD_CHAIN, SPEC)!.map(joinWords), [
    '-s 10.20.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT',
    '-d 10.20.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT',
  ]);
});

Deno.test("desiredRules() wants no chain for what is off", () => {
  const off = { ...SPEC, ipMasq: false, forward: false };
  assertEquals(desiredRules(MASQUERADE_CHAIN, off), undefined);
  assertEquals(desiredRules(FORWARD_CHAIN, off), undefined);
});

Deno.test("jumpRule() carries the chain's comment", () => {
  assertEquals(
    joinWords(jumpRule(MASQUERADE_CHAIN)),
    '-m comment --comment "flanneld masq" -j FLANNEL-POSTRTG',
  );
  assertEquals(
    joinWords(jumpRule(FORWARD_CHAIN)),
    '-m comment --comment "flanneld forward" -j FLANNEL-FWD',
  );
});

Deno.test("desiredRules() drops forged packets before it accepts a peer's", () => {
  const guard = { port: 8472, device: "flannel.1", isStrict: () => true };
  const drops = [
    '-s 10.20.0.0/16 ! -d 10.20.0.0/16 -p udp -m udp --dport 8472 -m comment --comment "flanneld overlay" -j DROP',
    '-i flannel.1 -s 10.20.93.0/24 -m comment --comment "flanneld overlay" -j DROP',
    '-i flannel.1 ! -s 10.20.0.0/16 -m comment --comment "flanneld overlay" -j DROP',
  ];
  const rules = (spec: Partial<FirewallSpec>) =>
    desiredRules(RAW_CHAIN, { ...SPEC, ...spec })?.map(joinWords);
  assertEquals(rules({ guard }), drops);
  assertEquals(rules({ guard, ingress: { device: "flannel.1" } })?.slice(0, 3), drops);
  assertEquals(rules({ guard: { ...guard, isStrict: () => false } }), drops.slice(0, 2));
  assertEquals(rules({ guard: { ...guard, device: undefined } }), drops.slice(0, 1));
  assertEquals(rules({}), undefined);
});
