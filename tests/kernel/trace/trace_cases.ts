/** A host with rules, and the expected verdict on a packet. */
export interface TraceCase {
  readonly what: string;
  /** Shell script on the host; `RULESETS` is the directory of recorded rule sets. */
  readonly script: string;
  /** @default "in" */
  readonly flow?: "in" | "out" | "tunnel" | "own";
  /** TCP port that is asked for. @default none: ICMP */
  readonly port?: number;
  /** Text of the verdict's `stop`; absent when the packet arrives. */
  readonly stop?: RegExp;
  /** One of the verdict's notes. */
  readonly note?: RegExp;
  /** Nobody is there to take it. */
  readonly isLost?: true;
  /** `false`: only the operator, or a program that is not here, can fix it. @default true */
  readonly isFixable?: boolean;
  /** One of the commands that fix it. */
  readonly fix?: RegExp;
}

const docker = (version: 26 | 28, more = "") =>
  `iptables-restore < RULESETS/docker${version}.rules\n${more}`;
const FLANNEL_FORWARD =
  "iptables -A FORWARD -s 10.20.0.0/16 -j ACCEPT; iptables -A FORWARD -d 10.20.0.0/16 -j ACCEPT";
const DOCKER28_RAW =
  "iptables -t raw -I PREROUTING -i flannel.1 -s 10.20.0.0/16 -d 10.20.93.0/24 -j ACCEPT";
const DOCKER28_USER =
  "iptables -A DOCKER-USER -i flannel.1 -s 10.20.0.0/16 -d 10.20.93.0/24 -j ACCEPT";
/** nft wants a line feed behind each block. */
const nft = (text: string) => `nft -f - <<'END'\n${text.replaceAll(/;\s*\}/g, ";\n}\n")}\nEND`;

/** Rule sets of others, as recorded. */
const RECORDED: readonly TraceCase[] = [
  {
    what: "Docker 26 without rules of flanneld",
    script: docker(26),
    stop: /^the policy of iptables chain FORWARD, table filter drops it$/,
    fix: /^iptables -A FORWARD -i flannel\.1 -s 10\.20\.0\.0\/16 -d 10\.20\.93\.0\/24 -j ACCEPT$/,
  },
  { what: "Docker 26 with flannel's rules", script: docker(26, FLANNEL_FORWARD) },
  {
    what: "Docker 28 with flannel's rules: the raw rule for the container",
    script: docker(28, FLANNEL_FORWARD),
    stop:
      /^iptables rule 1 of chain PREROUTING, table raw: -A PREROUTING -d 10\.20\.93\.2\/32 ! -i docker0 -j DROP drops it$/,
    fix: /^iptables -t raw -I PREROUTING 1 -i flannel\.1 -s 10\.20/,
  },
  {
    what: "Docker 28 with an accept in raw: the rule against direct routing",
    script: docker(28, `${FLANNEL_FORWARD}\n${DOCKER28_RAW}`),
    stop:
      /^iptables rule 2 of chain DOCKER, table filter \(reached by FORWARD, DOCKER-FORWARD, DOCKER-BRIDGE\): -A DOCKER ! -i docker0 -o docker0 -j DROP drops it$/,
    fix:
      /^iptables -I DOCKER-USER -i flannel\.1 -s 10\.20\.0\.0\/16 -d 10\.20\.93\.0\/24 -j ACCEPT$/,
  },
  {
    what: "Docker 28 with accepts in raw and DOCKER-USER",
    script: docker(28, `${DOCKER28_RAW}\n${DOCKER28_USER}`),
  },
  { what: "Docker 28, from a container", script: docker(28), flow: "out" },
  {
    what: "firewalld, to a container",
    script: "nft -f RULESETS/firewalld.nft",
    stop:
      /^nftables rule with handle \d+ of chain "inet firewalld filter_FORWARD_POLICIES" \(reached by filter_FORWARD\): oifname "docker0" reject with icmpx admin-prohibited(, which firewalld manages,)? drops it$/,
    isFixable: false,
  },
  {
    what: "firewalld, the tunnel's datagrams",
    script: "nft -f RULESETS/firewalld.nft",
    flow: "tunnel",
    stop:
      /chain "inet firewalld filter_INPUT_POLICIES" .*: reject with icmpx admin-prohibited(, which firewalld manages,)? drops it$/,
    isFixable: false,
  },
  {
    what: "ufw, the tunnel's datagrams",
    script: "iptables-restore < RULESETS/ufw.rules",
    flow: "tunnel",
    stop: /^the policy of iptables chain INPUT, table filter(, which ufw manages,)? drops it$/,
    isFixable: false,
  },
  {
    what: "ufw, to a container's port",
    script: "iptables-restore < RULESETS/ufw.rules",
    port: 80,
    stop: /^the policy of iptables chain FORWARD, table filter(, which ufw manages,)? drops it$/,
    isFixable: false,
  },
  {
    what: "ufw, an ICMP echo request to a container, which ufw accepts",
    script:
      `iptables-restore < RULESETS/ufw.rules; iptables -A ufw-user-input -p udp --dport 8472 -j ACCEPT`,
  },
];

const IPTABLES: readonly TraceCase[] = [
  {
    what: "FORWARD's policy",
    script: "iptables -P FORWARD DROP",
    stop: /^the policy of iptables chain FORWARD, table filter drops it$/,
  },
  {
    what: "a rule in FORWARD, behind one for others",
    script: "iptables -A FORWARD -s 10.9.9.9 -j ACCEPT; iptables -A FORWARD -i flannel.1 -j DROP",
    stop:
      /^iptables rule 2 of chain FORWARD, table filter: -A FORWARD -i flannel\.1 -j DROP drops it$/,
    fix: /^iptables -I FORWARD 2 /,
  },
  {
    what: "a rule for one port, and the port",
    script: "iptables -A FORWARD -p tcp --dport 80 -j DROP",
    port: 80,
    stop: /-A FORWARD -p tcp -m tcp --dport 80 -j DROP drops it$/,
  },
  {
    what: "a rule for one port, and an ICMP echo request",
    script: "iptables -A FORWARD -p tcp --dport 80 -j DROP",
  },
  {
    what: "REJECT with port unreachable",
    script: "iptables -A FORWARD -o docker0 -j REJECT",
    stop: /-A FORWARD -o docker0 -j REJECT --reject-with icmp-port-unreachable drops it$/,
  },
  {
    what: "REJECT as CentOS ends FORWARD with, by goto",
    script: "iptables -N END; iptables -A END -j REJECT --reject-with icmp-host-prohibited; " +
      "iptables -A FORWARD -s 10.20.0.0/16 -g END",
    stop:
      /rule 1 of chain END, table filter \(reached by FORWARD\).*icmp-host-prohibited drops it$/,
  },
  {
    what: "REJECT of a connection with a reset",
    script: "iptables -A FORWARD -p tcp -j REJECT --reject-with tcp-reset",
    port: 80,
    stop: /--reject-with tcp-reset drops it$/,
  },
  {
    what: "three chains deep, past one that returns",
    script: "for c in A B C D; do iptables -N $c; done; iptables -A FORWARD -j D; " +
      "iptables -A D -d 10.20.93.2 -j RETURN; iptables -A FORWARD -j A; iptables -A A -j B; " +
      "iptables -A B -j C; iptables -A C -s 10.20.65.0/24 -j DROP",
    stop:
      /rule 1 of chain C, table filter \(reached by FORWARD, A, B\): -A C -s 10\.20\.65\.0\/24 -j DROP/,
  },
  {
    what: "raw PREROUTING",
    script: "iptables -t raw -A PREROUTING -d 10.20.93.0/24 ! -i docker0 -j DROP",
    stop: /rule 1 of chain PREROUTING, table raw: .* drops it$/,
  },
  {
    what: "mangle PREROUTING",
    script: "iptables -t mangle -A PREROUTING -s 10.20.65.2 -j DROP",
    stop: /rule 1 of chain PREROUTING, table mangle: -A PREROUTING -s 10\.20\.65\.2\/32 -j DROP/,
  },
  {
    what: "mangle FORWARD",
    script: "iptables -t mangle -A FORWARD -m ttl --ttl-lt 65 -j DROP",
    stop: /chain FORWARD, table mangle: .*ttl-lt 65 -j DROP drops it$/,
  },
  {
    what: "mangle POSTROUTING",
    script: "iptables -t mangle -A POSTROUTING -o docker0 -j DROP",
    stop: /chain POSTROUTING, table mangle: .* drops it$/,
  },
  {
    what: "INPUT's policy, for the tunnel",
    script: "iptables -P INPUT DROP",
    flow: "tunnel",
    stop: /^the policy of iptables chain INPUT, table filter drops it$/,
    fix: /^iptables -A INPUT -i eth1 -p udp --dport 8472 -j ACCEPT$/,
  },
  {
    what: "INPUT's policy, for what is forwarded",
    script: "iptables -A INPUT -p udp --dport 8472 -j ACCEPT; iptables -P INPUT DROP",
  },
  {
    what: "the tunnel's port in INPUT",
    script: "iptables -A INPUT -p udp --dport 8472 -j REJECT",
    flow: "tunnel",
    stop: /-A INPUT -p udp -m udp --dport 8472 -j REJECT .*drops it$/,
  },
  {
    what: "the tunnel's port in OUTPUT",
    script: "iptables -A OUTPUT -p udp --dport 8472 -j DROP",
    flow: "out",
    stop: /^the tunnel's datagram with it: iptables rule 1 of chain OUTPUT, .*--dport 8472 -j DROP/,
    fix: /^iptables -I OUTPUT 1 -p udp --dport 8472 -j ACCEPT$/,
  },
  {
    what: "INPUT, for an address of the host's own",
    script: "iptables -A INPUT -i flannel.1 -p icmp -j DROP",
    flow: "own",
    stop: /-A INPUT -i flannel\.1 -p icmp -j DROP drops it$/,
  },
  {
    what: "new connections",
    script: "iptables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; " +
      "iptables -A FORWARD -i flannel.1 -m conntrack --ctstate NEW -j DROP",
    stop: /rule 2 of chain FORWARD, .*--ctstate NEW -j DROP drops it$/,
  },
  {
    what: "INVALID: the reply to an untracked packet",
    script: "iptables -t raw -A PREROUTING -i flannel.1 -j CT --notrack; " +
      "iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP",
    stop:
      /^the answer to it: iptables rule 1 of chain FORWARD, .*--ctstate INVALID -j DROP drops it$/,
  },
  {
    what: "an ipset",
    script: "ipset create bad hash:net; ipset add bad 10.20.65.0/24; " +
      "iptables -A FORWARD -m set --match-set bad src -j DROP",
    stop: /-A FORWARD -m set --match-set bad src -j DROP drops it$/,
  },
  {
    what: "a mark that another table sets",
    script: "iptables -t mangle -A PREROUTING -i flannel.1 -j MARK --set-mark 0x8; " +
      "iptables -A FORWARD -m mark --mark 0x8/0x8 -j DROP",
    stop: /-A FORWARD -m mark --mark 0x8\/0x8 -j DROP drops it$/,
  },
  {
    what: "the bridge's port that a container's packets come from",
    script: "sysctl -qw net.bridge.bridge-nf-call-iptables=1; " +
      "iptables -A FORWARD -m physdev --physdev-in vethc -j DROP",
    flow: "out",
    stop: /-A FORWARD -m physdev --physdev-in vethc -j DROP drops it$/,
  },
  {
    what: "packets to the peer",
    script: "iptables -A FORWARD -o flannel.1 -j DROP",
    flow: "out",
    stop: /-A FORWARD -o flannel\.1 -j DROP drops it$/,
    fix: /^iptables -I FORWARD 1 -i docker0 -s 10\.20\.93\.0\/24 -d 10\.20\.0\.0\/16 -j ACCEPT$/,
  },
  {
    what: "MASQUERADE of what comes from other hosts",
    script: "iptables -t nat -A POSTROUTING -o docker0 -j MASQUERADE",
    note:
      /^its source becomes 10\.20\.93\.1 by iptables rule 1 of chain POSTROUTING, table nat: .*-j MASQUERADE$/,
  },
  {
    what: "MASQUERADE of what containers send, as Docker's",
    script: "iptables -t nat -A POSTROUTING -s 10.20.93.0/24 ! -o docker0 -j MASQUERADE",
    flow: "out",
    note: /^its source becomes 10\.20\.93\.0 by iptables rule 1 of chain POSTROUTING/,
  },
  {
    what: "DNAT to nobody",
    script: "iptables -t nat -A PREROUTING -d 10.20.93.2 -j DNAT --to 10.20.93.77",
    stop: /^nobody on docker0 answers for 10\.20\.93\.77 \(no neighbour\)$/,
    note:
      /^its destination becomes 10\.20\.93\.77 by iptables rule 1 of chain PREROUTING, table nat/,
    isFixable: false,
  },
  {
    what: "a queue that nobody reads",
    script: "iptables -A FORWARD -i flannel.1 -j NFQUEUE --queue-num 5",
    stop: /-j NFQUEUE --queue-num 5 (hands it to a program, which does not return it|drops it)$/,
  },
  {
    what: "rules that log and count",
    script: "iptables -A FORWARD -j LOG --log-prefix x; iptables -t mangle -A FORWARD; " +
      "iptables -A FORWARD -m conntrack --ctstate NEW,ESTABLISHED",
  },
];

const NFTABLES: readonly TraceCase[] = [
  {
    what: "a base chain's policy",
    script: nft(
      "table inet corp { chain through { type filter hook forward priority 0; policy drop; } }",
    ),
    stop: /^the policy of nftables chain "inet corp through" drops it$/,
    fix:
      /^nft add rule inet corp through iifname "flannel\.1" ip saddr 10\.20\.0\.0\/16 ip daddr 10\.20\.93\.0\/24 accept$/,
  },
  {
    what: "a policy, and rules that accept the overlay",
    script: nft(`table inet corp { chain through { type filter hook forward priority 0; policy drop;
      ip saddr 10.20.0.0/16 accept; } }`),
  },
  {
    what: "a named set",
    script: nft(`table ip t { set bad { type ipv4_addr; elements = { 10.20.65.2 } }
      chain c { type filter hook forward priority 5; ip saddr @bad drop; } }`),
    stop: /^nftables rule with handle \d+ of chain "ip t c": ip saddr @bad drop drops it$/,
    fix: /^nft insert rule ip t c handle \d+ iifname/,
  },
  {
    what: "intervals, rejected",
    script: nft(`table ip t { chain c { type filter hook forward priority 0;
      ip saddr { 10.20.0.0/17, 192.168.0.0/16 } reject with icmp admin-prohibited; } }`),
    stop: /chain "ip t c": ip saddr \{ .* \} reject with icmp admin-prohibited drops it$/,
  },
  {
    what: "a verdict map in place",
    script: nft(`table ip t { chain c { type filter hook forward priority 0;
      ip saddr vmap { 10.20.65.2 : drop, 10.20.65.3 : accept }; } }`),
    stop: /chain "ip t c": ip saddr vmap \{ .* \} drops it$/,
  },
  {
    what: "a named verdict map that leads to a chain",
    script: nft(`table inet t { chain bad { counter; ip daddr 10.20.93.2 drop; }
      map way { type ifname : verdict; elements = { "flannel.1" : jump bad } }
      chain c { type filter hook forward priority 0; iifname vmap @way; } }`),
    stop: /chain "inet t bad" \(reached by c\): ip daddr 10\.20\.93\.2 drop drops it$/,
  },
  {
    what: "a map that marks, and the mark",
    script: nft(`table ip t { map m { type ipv4_addr : mark; elements = { 10.20.93.2 : 7 } }
      chain p { type filter hook prerouting priority -150; meta mark set ip daddr map @m; }
      chain c { type filter hook forward priority 0; meta mark 7 drop; } }`),
    stop: /chain "ip t c": meta mark 0x0*7 drop drops it$/,
  },
  {
    what: "chains by goto",
    script: nft(`table ip t { chain z { drop; } chain y { goto z; accept; }
      chain c { type filter hook forward priority 0; jump y; } }`),
    stop: /chain "ip t z" \(reached by c, y\): drop drops it$/,
  },
  {
    what: "a connection's reset",
    script: nft(`table inet t { chain c { type filter hook forward priority 0;
      tcp dport 80 reject with tcp reset; } }`),
    port: 80,
    stop: /tcp dport 80 reject with tcp reset drops it$/,
  },
  {
    what: "before raw",
    script: nft(`table ip t { chain c { type filter hook prerouting priority -450;
      iifname "flannel.1" drop; } }`),
    stop: /chain "ip t c": iifname "flannel\.1" drop drops it$/,
  },
  {
    what: "at the bridge, behind routing",
    script: nft(`table bridge t { chain c { type filter hook output priority 0;
      oifname "vethc" ether type ip drop; } }`),
    stop: /chain "bridge t c": oifname "vethc" ether type ip drop drops it$/,
    isFixable: false,
  },
  {
    what: "at the bridge, before IP",
    script: nft(`table bridge t { chain c { type filter hook prerouting priority 0;
      iifname "vethc" ether type ip ip daddr 10.20.0.0/16 drop; } }`),
    flow: "out",
    stop: /chain "bridge t c": iifname "vethc" .*drop drops it$/,
    isFixable: false,
  },
  {
    what: "at the device, before all hooks",
    script: nft(`table netdev t { chain c { type filter hook ingress device "flannel.1" priority 0;
      ip saddr 10.20.65.2 drop; } }`),
    stop: /chain "netdev t c": ip saddr 10\.20\.65\.2 drop drops it$/,
    isFixable: false,
  },
  {
    what: "source NAT of what containers send",
    script: nft(`table ip t { chain c { type nat hook postrouting priority 100;
      ip saddr 10.20.93.0/24 snat to 10.20.93.0; } }`),
    flow: "out",
    note: /^its source becomes 10\.20\.93\.0 by nftables rule .* snat to 10\.20\.93\.0$/,
  },
  {
    what: "INVALID, in nftables",
    script: nft(`table ip t { chain p { type filter hook prerouting priority -300;
      iifname "flannel.1" notrack; } chain c { type filter hook forward priority 0;
      ct state invalid counter drop; } }`),
    stop: /^the answer to it: .*: ct state invalid counter .*drop drops it$/,
  },
];

const KERNEL: readonly TraceCase[] = [
  {
    what: "a strict reverse path filter",
    script: "sysctl -qw net/ipv4/conf/flannel.1/rp_filter=1; ip route del 10.20.65.0/24; " +
      "ip route add 10.20.65.0/24 dev eth1",
    stop: /^the reverse path filter of flannel\.1 drops it/,
    fix: /^sysctl -w net\/ipv4\/conf\/flannel\.1\/rp_filter=2$/,
    // The answer goes the wrong way, too.
    isFixable: false,
  },
  {
    what: "no route to containers",
    script: "ip route del 10.20.93.0/24 dev docker0",
    stop: /^no route leads to 10\.20\.93\.2$/,
    isFixable: false,
  },
  {
    what: "a route that leads elsewhere",
    script: "ip route add 10.20.93.2/32 dev eth1",
    stop: /^the route to 10\.20\.93\.2 leads to eth1, and not to docker0$/,
    isFixable: false,
  },
  {
    what: "no route to the peer",
    script: "ip route del 10.20.65.0/24",
    flow: "out",
    stop: /^no route leads to 10\.20\.65\.2$/,
    isFixable: false,
  },
  {
    what: "a blackhole",
    script: "ip route add blackhole 10.20.93.2/32",
    stop: /^no route leads to 10\.20\.93\.2$/,
    isFixable: false,
  },
  {
    what: "forwarding off",
    script: "sysctl -qw net.ipv4.ip_forward=0",
    stop: /^this host does not forward: net\/ipv4\/ip_forward is 0$/,
  },
  {
    what: "forwarding off on the tunnel's device",
    script: "sysctl -qw net/ipv4/conf/flannel.1/forwarding=0",
    stop: /^this host does not forward: net\/ipv4\/conf\/flannel\.1\/forwarding is 0$/,
  },
  {
    what: "a martian: the peer's address is this host's own",
    script: "ip address add 10.20.65.2/32 dev lo",
    stop: /^it is a martian on flannel\.1: 10\.20\.65\.2 or 10\.20\.93\.2 cannot be there/,
    isFixable: false,
  },
  {
    what: "a container whose cable is cut",
    script: "ip link set vethc down",
    stop: /^nobody on docker0 answers for 10\.20\.93\.2 \(no neighbour\)$/,
    isFixable: false,
  },
  {
    what: "an address that no container has: the rules alone are judged",
    script: "ip link set vethc nomaster; iptables -A FORWARD -s 192.0.2.1 -j DROP",
    note: /^nobody on docker0 answers for 10\.20\.93\.2 \(no neighbour\)$/,
    isLost: true,
  },
  {
    what: "no neighbour for the peer",
    script: "ip neighbour del 10.20.65.0 dev flannel.1",
    flow: "out",
    stop: /^nobody on flannel\.1 answers for 10\.20\.65\.0 \(no neighbour\)$/,
    isFixable: false,
  },
  { what: "nothing at all", script: "true" },
];

const LEGACY: readonly TraceCase[] = [
  {
    what: "legacy FORWARD's policy",
    script: "iptables-legacy -P FORWARD DROP",
    stop: /^the policy of iptables-legacy chain FORWARD, table filter drops it$/,
  },
  {
    what: "a legacy chain of chains",
    script: "iptables-legacy -N A; iptables-legacy -N B; iptables-legacy -A FORWARD -j A; " +
      "iptables-legacy -A A -s 1.1.1.1 -j ACCEPT; iptables-legacy -A A -j B; " +
      "iptables-legacy -A B -d 10.20.93.0/24 -j REJECT",
    stop:
      /^iptables-legacy rule 1 of chain B, table filter \(reached by FORWARD, A\): -A B -d 10\.20\.93\.0\/24 -j REJECT/,
  },
  {
    what: "legacy raw",
    script: "iptables-legacy -t raw -A PREROUTING -i flannel.1 -j DROP",
    stop:
      /^iptables-legacy rule 1 of chain PREROUTING, table raw: -A PREROUTING -i flannel\.1 -j DROP/,
  },
  {
    what: "legacy mangle, the second rule",
    script: "iptables-legacy -t mangle -A FORWARD -j MARK --set-mark 1; " +
      "iptables-legacy -t mangle -A FORWARD -m mark --mark 1 -j DROP",
    stop: /^iptables-legacy rule 2 of chain FORWARD, table mangle: /,
  },
  {
    what: "legacy MASQUERADE",
    script: "iptables-legacy -t nat -A POSTROUTING -o docker0 -j MASQUERADE",
    note:
      /^its source becomes 10\.20\.93\.1 by iptables-legacy rule 1 of chain POSTROUTING, table nat/,
  },
  {
    what: "accepted by the legacy set, dropped by the other",
    script: "iptables-legacy -A FORWARD -j ACCEPT; iptables-nft -A FORWARD -i flannel.1 -j DROP",
    stop: /^iptables rule 1 of chain FORWARD, table filter: -A FORWARD -i flannel\.1 -j DROP/,
  },
  {
    what: "a legacy set that accepts",
    script: "iptables-legacy -A FORWARD -s 10.20.0.0/16 -j ACCEPT; " +
      "iptables-legacy -A FORWARD -d 10.20.0.0/16 -j ACCEPT; iptables-legacy -P FORWARD DROP",
  },
];

export const CASES: readonly TraceCase[] = [
  ...RECORDED,
  ...IPTABLES,
  ...NFTABLES,
  ...KERNEL,
  ...LEGACY,
];
