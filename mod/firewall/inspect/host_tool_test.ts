import { assertEquals } from "@std/assert";
import { Prefix } from "../../ip/mod.ts";
import { type ChainPlace, hostToolOf, openingCommands } from "./host_tool.ts";

const NETWORK = Prefix.parse("10.20.0.0/16")!;
const HOSTS = Prefix.parse("172.28.128.0/24")!;

function inFilter(name: string): ChainPlace {
  return { family: "ip", table: "filter", name };
}

Deno.test("hostToolOf() knows firewalld by its table of nftables, and its chains of iptables", () => {
  for (const name of ["filter_FORWARD_POLICIES", "filter_INPUT", "filter_IN_public_deny"]) {
    assertEquals(hostToolOf({ family: "inet", table: "firewalld", name }), "firewalld");
  }
  assertEquals(hostToolOf(inFilter("INPUT_ZONES")), "firewalld");
  assertEquals(hostToolOf(inFilter("FORWARD_OUT_ZONES")), "firewalld");
  assertEquals(hostToolOf(inFilter("IN_public"), ["INPUT", "INPUT_ZONES"]), "firewalld");
  assertEquals(hostToolOf(inFilter("INPUT"), ["INPUT_direct", "INPUT_ZONES"]), "firewalld");
});

Deno.test("hostToolOf() knows ufw by its chains, and by those beside a built-in one", () => {
  assertEquals(hostToolOf(inFilter("ufw-user-input")), "ufw");
  assertEquals(hostToolOf(inFilter("ufw-reject-forward")), "ufw");
  assertEquals(hostToolOf(inFilter("INPUT"), ["FORWARD", "ufw-before-input"]), "ufw");
  assertEquals(hostToolOf(inFilter("FORWARD"), ["ufw-before-input", "DOCKER-USER"]), "ufw");
});

Deno.test("hostToolOf() leaves the chains of Docker, flanneld and administrators to others", () => {
  for (const name of ["INPUT", "FORWARD", "DOCKER-USER", "FLANNEL-FWD", "IN_corp", "INPUT_corp"]) {
    assertEquals(hostToolOf(inFilter(name), ["DOCKER", "FLANNEL-FWD"]), undefined, name);
  }
  assertEquals(hostToolOf(inFilter("DOCKER"), ["ufw-before-input"]), undefined);
  assertEquals(hostToolOf({ family: "inet", table: "corp", name: "input" }), undefined);
});

Deno.test("openingCommands() opens the tunnel's port, to the hosts alone where they are known", () => {
  assertEquals(openingCommands("firewalld", { hook: "input", port: 8472 }), [
    "firewall-cmd --permanent --add-port=8472/udp",
    "firewall-cmd --reload",
  ]);
  assertEquals(
    openingCommands("firewalld", { hook: "input", port: 8285, hosts: HOSTS, zone: "work" }),
    [
      'firewall-cmd --permanent --zone=work --add-rich-rule=\'rule family="ipv4" source ' +
      'address="172.28.128.0/24" port port="8285" protocol="udp" accept\'',
      "firewall-cmd --reload",
    ],
  );
  assertEquals(openingCommands("ufw", { hook: "input", port: 8472 }), [
    "ufw allow proto udp from any to any port 8472",
  ]);
  assertEquals(openingCommands("ufw", { hook: "input", port: 8472, hosts: HOSTS }), [
    "ufw allow proto udp from 172.28.128.0/24 to any port 8472",
  ]);
});

Deno.test("openingCommands() lets the network into the bridge, and the hosts where there is no tunnel", () => {
  const forward = { hook: "forward", network: NETWORK } as const;
  const firewalld = { zone: true, policy: true };
  const rule = (source: string) =>
    'firewall-cmd --permanent --policy=flannel --add-rich-rule=\'rule family="ipv4" source ' +
    `address="${source}" destination address="10.20.0.0/16" accept'`;
  assertEquals(openingCommands("firewalld", forward), [
    "firewall-cmd --permanent --new-zone=docker",
    "firewall-cmd --permanent --zone=docker --set-target=ACCEPT",
    "firewall-cmd --permanent --zone=docker --add-interface=docker0",
    "firewall-cmd --permanent --new-policy=flannel",
    "firewall-cmd --permanent --policy=flannel --add-ingress-zone=ANY",
    "firewall-cmd --permanent --policy=flannel --add-egress-zone=docker",
    rule("10.20.0.0/16"),
    "firewall-cmd --reload",
  ]);
  assertEquals(
    openingCommands("firewalld", { ...forward, firewalld, hosts: HOSTS, bridge: "br-1" }),
    [
      "firewall-cmd --permanent --zone=docker --add-interface=br-1",
      rule("10.20.0.0/16"),
      rule("172.28.128.0/24"),
      "firewall-cmd --reload",
    ],
  );
  assertEquals(openingCommands("ufw", { ...forward, hosts: HOSTS }), [
    "ufw route allow from 10.20.0.0/16 to 10.20.0.0/16",
    "ufw route allow from 172.28.128.0/24 to 10.20.0.0/16",
  ]);
});
