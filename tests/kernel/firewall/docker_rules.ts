/** Rules that Docker 28 and 29 make, recorded, for tests that need its drops and not the program. */
import type { Namespace } from "./firewall_namespace.ts";

/** A Docker that drops packets from other interfaces to a container, or to its bridge's whole network. */
export interface RecordedDocker {
  readonly name: string;
  /** Applies the rules as the daemon does at its start. */
  start(host: Namespace): Promise<void>;
  /** Writes the chains again that a container's start or end changes. */
  change(host: Namespace): Promise<void>;
  /** All rules, without counters, to compare. */
  rules(host: Namespace): Promise<string>;
}

/** docker0's network and the address of its container. */
const NETWORK = "10.20.93.0/24";
const CONTAINER = "10.20.93.2";

/** iptables-save of dockerd 28.5.2 with one container. */
const IPTABLES = `*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -d ${CONTAINER}/32 ! -i docker0 -j DROP
COMMIT
*filter
:FORWARD ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-BRIDGE - [0:0]
:DOCKER-CT - [0:0]
:DOCKER-FORWARD - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
COMMIT
`;

function iptables(variant: "nft" | "legacy"): RecordedDocker {
  const run = (host: Namespace, ...args: string[]) => host.run(`iptables-${variant}`, ...args);
  return {
    name: `iptables-${variant}`,
    start: (host) => restore(host, `iptables-${variant}-restore`, IPTABLES),
    async change(host) {
      // A restart: the jumps come to the top, drops to the end.
      for (const chain of ["DOCKER-FORWARD", "DOCKER-USER"]) {
        await run(host, "-D", "FORWARD", "-j", chain);
        await run(host, "-I", "FORWARD", "-j", chain);
      }
      const drop = ["PREROUTING", "-d", CONTAINER, "!", "-i", "docker0", "-j", "DROP"];
      for (const letter of ["-D", "-I"]) await run(host, "-t", "raw", letter, ...drop);
    },
    rules: async (host) =>
      (await host.run(`iptables-${variant}-save`)).replace(/ \[\d+:\d+\]|^#.*\n/gm, ""),
  };
}

function bridges(name: string, drop: string): RecordedDocker {
  const raw = `add rule ip docker-bridges raw-PREROUTING ip daddr ${drop} ` +
    `iifname != "docker0" counter drop comment "DROP DIRECT ACCESS"\n`;
  const forward =
    "add rule ip docker-bridges filter-FORWARD oifname vmap @filter-forward-in-jumps\n" +
    "add rule ip docker-bridges filter-FORWARD iifname vmap @filter-forward-out-jumps\n";
  const chains = `
add map ip docker-bridges filter-forward-in-jumps { type ifname : verdict; }
add map ip docker-bridges filter-forward-out-jumps { type ifname : verdict; }
add map ip docker-bridges nat-postrouting-out-jumps { type ifname : verdict; }
add chain ip docker-bridges filter-FORWARD { type filter hook forward priority 0; policy accept; }
add chain ip docker-bridges nat-POSTROUTING { type nat hook postrouting priority 100; policy accept; }
add chain ip docker-bridges raw-PREROUTING { type filter hook prerouting priority -300; policy accept; }
add chain ip docker-bridges filter-forward-in__docker0
add chain ip docker-bridges filter-forward-out__docker0
add chain ip docker-bridges nat-postrouting-out__docker0
add rule ip docker-bridges filter-forward-in__docker0 ct state established,related counter accept
add rule ip docker-bridges filter-forward-in__docker0 iifname docker0 counter accept comment "ICC"
add rule ip docker-bridges filter-forward-in__docker0 counter drop comment "UNPUBLISHED PORT DROP"
add rule ip docker-bridges filter-forward-out__docker0 ct state established,related counter accept
add rule ip docker-bridges filter-forward-out__docker0 counter accept comment "OUTGOING"
add rule ip docker-bridges nat-postrouting-out__docker0 oifname != docker0 ip saddr ${NETWORK} counter masquerade comment "MASQUERADE"
add element ip docker-bridges filter-forward-in-jumps { "docker0" : jump filter-forward-in__docker0 }
add element ip docker-bridges filter-forward-out-jumps { "docker0" : jump filter-forward-out__docker0 }
add element ip docker-bridges nat-postrouting-out-jumps { "docker0" : jump nat-postrouting-out__docker0 }
add rule ip docker-bridges nat-POSTROUTING iifname vmap @nat-postrouting-out-jumps
`;
  const start = "add table ip docker-bridges\ndelete table ip docker-bridges\n" +
    `add table ip docker-bridges\n${chains}${raw}${forward}`;
  return {
    name,
    start: (host) => restore(host, "nft -f -", start),
    change: (host) =>
      restore(host, "nft -f -", `flush chain ip docker-bridges raw-PREROUTING\n${raw}`),
    rules: async (host) => (await host.run("nft", "-s", "list", "table", "ip", "docker-bridges")),
  };
}

/** Docker 28's iptables in both sets, and 29's nftables, with the older and the newer drop in raw. */
export const RECORDED: readonly RecordedDocker[] = [
  iptables("nft"),
  iptables("legacy"),
  bridges("nftables", CONTAINER),
  bridges("nftables with the whole network dropped", NETWORK),
];

async function restore(host: Namespace, command: string, text: string): Promise<void> {
  await host.run("sh", "-c", `${command} <<'END'\n${text}END`);
}
