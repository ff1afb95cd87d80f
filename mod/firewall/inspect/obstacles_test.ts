import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { parseIPv4, Prefix } from "../../ip/mod.ts";
import type { ProbePacket } from "./chain_walk.ts";
import { findObstacles, hostToolsIn, type OverlayPath, type ReadTable } from "./obstacles.ts";
import { readIptables } from "../iptables/read_iptables.ts";
import { readNftables } from "../nftables/read_nftables.ts";
import { parseSave } from "../iptables/save_format.ts";

const SPEC = {
  network: Prefix.parse("10.20.0.0/16")!,
  subnet: Prefix.parse("10.20.93.0/24")!,
  forward: true,
};

const PATH: OverlayPath = {
  external: { name: "eth1", address: parseIPv4("172.28.128.100")! },
  hosts: [Prefix.parse("172.28.128.0/24")!],
  peers: [parseIPv4("172.28.128.101")!],
  ...{ device: "flannel.1", port: 8472, isDirect: false, bridge: "docker0" },
};

const HOST_GW: OverlayPath = { ...PATH, device: undefined, port: undefined, isDirect: true };

/** Returns an iptables table with these lines and the built-in chains. */
function iptables(lines: string): ReadTable {
  const text = ["*filter", ":INPUT ACCEPT [0:0]", ":FORWARD ACCEPT [0:0]", ...lines.split("\n")];
  const table = parseSave([...text.map((line) => line.trim()), "COMMIT"].join("\n")).get("filter")!;
  return {
    ...{ program: "iptables", name: "ip filter", chains: readIptables(table) },
    bases: { input: ["INPUT"], forward: ["FORWARD"] },
  };
}

type Statement = Readonly<Record<string, unknown>>;

/** A table of nftables: `input` and `forward` are its base chains. */
function nftables(
  name: string,
  rules: Readonly<Record<string, readonly (readonly Statement[])[]>>,
  { policy = "accept", sets = [] }: { policy?: string; sets?: readonly Statement[] } = {},
): ReadTable {
  const objects: Statement[] = [{ table: { family: "inet", name } }, ...sets];
  for (const [chain, list] of Object.entries({ input: [], forward: [], ...rules })) {
    const isBase = chain === "input" || chain === "forward";
    const hook = isBase ? { hook: chain, type: "filter", prio: 10, policy } : {};
    objects.push({ chain: { name: chain, ...hook } });
    objects.push(...list.map((expr) => ({ rule: { chain, expr } })));
  }
  return {
    ...{ program: "nft", name: `inet ${name}` },
    chains: readNftables(JSON.stringify({ nftables: objects })),
    bases: { input: ["input"], forward: ["forward"] },
  };
}

const match = (left: Statement, right: unknown, op = "=="): Statement => ({
  match: { op, left, right },
});
const iifname = { meta: { key: "iifname" } };
const oifname = { meta: { key: "oifname" } };
const saddr = { payload: { protocol: "ip", field: "saddr" } };
const accept = { accept: null };
const reject = { reject: { type: "icmpx", expr: "admin-prohibited" } };
const jump = (target: string): Statement => ({ jump: { target } });
const established = match({ ct: { key: "state" } }, { set: ["established", "related"] });

/** firewalld's chains, as it writes them: docker0 in its zone, the rest in the default one. */
function firewalld(allowed: Readonly<Record<string, readonly (readonly Statement[])[]>> = {}) {
  return nftables("firewalld", {
    input: [[established, accept], [jump("filter_INPUT_POLICIES")], [reject]],
    forward: [[established, accept], [jump("filter_FORWARD_POLICIES")], [reject]],
    filter_INPUT_POLICIES: [[jump("filter_IN_policy_x")], [jump("filter_IN_public")], [reject]],
    filter_FORWARD_POLICIES: [
      [match(iifname, "docker0"), accept],
      [match(oifname, "docker0"), jump("filter_FWD_public")],
      [match(oifname, "docker0"), reject],
      [reject],
    ],
    ...{ filter_IN_policy_x: [], filter_IN_public: [], filter_FWD_public: [], ...allowed },
  });
}

function textsOf(tables: readonly ReadTable[], path: OverlayPath | undefined = PATH): string[] {
  return findObstacles(tables, SPEC, path).map(({ text }) => text);
}

Deno.test("findObstacles() finds firewalld's rejects, and names its commands", () => {
  const obstacles = findObstacles([firewalld()], SPEC, PATH, { zone: true, policy: false });
  assertEquals(obstacles, [
    {
      ...{ hook: "input", tool: "firewalld" },
      text: 'firewalld (nftables chain "inet firewalld filter_INPUT_POLICIES") drops UDP packets ' +
        "to port 8472 of this host",
      commands: [
        'firewall-cmd --permanent --zone=public --add-rich-rule=\'rule family="ipv4" source ' +
        'address="172.28.128.0/24" port port="8472" protocol="udp" accept\'',
        "firewall-cmd --reload",
      ],
    },
    {
      ...{ hook: "forward", tool: "firewalld" },
      text: 'firewalld (nftables chain "inet firewalld filter_FORWARD_POLICIES") drops forwarded ' +
        "packets of 10.20.0.0/16 from flannel.1 to docker0",
      commands: [
        "firewall-cmd --permanent --zone=docker --add-interface=docker0",
        "firewall-cmd --permanent --new-policy=flannel",
        "firewall-cmd --permanent --policy=flannel --add-ingress-zone=ANY",
        "firewall-cmd --permanent --policy=flannel --add-egress-zone=docker",
        'firewall-cmd --permanent --policy=flannel --add-rich-rule=\'rule family="ipv4" source ' +
        'address="10.20.0.0/16" destination address="10.20.0.0/16" accept\'',
        "firewall-cmd --reload",
      ],
    },
  ]);
});

Deno.test("findObstacles() finds nothing once firewalld lets the network in", () => {
  const network = { prefix: { addr: "10.20.0.0", len: 16 } };
  const open = firewalld({
    filter_IN_public: [[
      match(saddr, { prefix: { addr: "172.28.128.0", len: 24 } }),
      match({ payload: { protocol: "udp", field: "dport" } }, 8472),
      accept,
    ]],
    filter_FWD_public: [[match(saddr, network), accept]],
  });
  assertEquals(textsOf([open]), []);
  // Without a tunnel Docker gives packets the sending host's address.
  assertEquals(textsOf([open], HOST_GW).length, 1);
});

Deno.test("findObstacles() leaves firewalld's forwarding alone while there is no bridge", () => {
  assertEquals(textsOf([firewalld()], { ...HOST_GW, bridge: undefined }), []);
});

Deno.test("findObstacles() finds ufw's policy for INPUT, and its reject before FLANNEL-FWD", () => {
  const ufw = (rules: string) =>
    iptables(
      `:ufw-before-input - [0:0]
      :ufw-user-input - [0:0]
      :ufw-reject-forward - [0:0]
      :FLANNEL-FWD - [0:0]
      :INPUT DROP [0:0]
      -A INPUT -j ufw-before-input
      -A FORWARD -j ufw-reject-forward
      -A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
      -A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
      -A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT
      -A ufw-before-input -j ufw-user-input
      -A FLANNEL-FWD -s 10.20.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
      ${rules}`,
    );
  assertEquals(findObstacles([ufw("")], SPEC, PATH), [{
    ...{ hook: "input", tool: "ufw" },
    text: 'ufw (iptables chain "INPUT") drops UDP packets to port 8472 of this host, which none ' +
      "of its rules accepts",
    commands: ["ufw allow proto udp from 172.28.128.0/24 to any port 8472"],
  }]);
  const allowed = "-A ufw-user-input -s 172.28.128.0/24 -p udp -m udp --dport 8472 -j ACCEPT";
  assertEquals(textsOf([ufw(allowed)]), []);
  const routed = "-A ufw-reject-forward -j REJECT --reject-with icmp-port-unreachable";
  const [obstacle, ...more] = findObstacles([ufw(`${allowed}\n${routed}`)], SPEC, PATH);
  assertEquals(obstacle?.commands, ["ufw route allow from 10.20.0.0/16 to 10.20.0.0/16"]);
  assertEquals(more, []);
});

Deno.test("findObstacles() finds a catch-all at the end of INPUT, and returns the position to insert", () => {
  const [obstacle] = findObstacles(
    [iptables("-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n-A INPUT -j REJECT")],
    SPEC,
    PATH,
  );
  assertEquals(obstacle?.commands, [
    "iptables -I INPUT -s 172.28.128.0/24 -p udp --dport 8472 -j ACCEPT",
  ]);
});

Deno.test("findObstacles() follows iptables' jumps, gotos, returns and negations", () => {
  const drops = (lines: string) =>
    textsOf([iptables(`:A - [0:0]\n:B - [0:0]\n${lines}`)]).length > 0;
  assert(drops("-A INPUT -j A\n-A A -j B\n-A B -p udp -j DROP"));
  assert(drops("-A INPUT -g A\n-A INPUT -j ACCEPT\n-A A -j RETURN\n:INPUT DROP [0:0]"), "goto");
  assert(!drops("-A INPUT -j A\n-A A -j RETURN\n-A A -j DROP"), "return");
  assert(!drops("-A INPUT ! -i eth1 -j DROP"), "another device");
  assert(drops("-A INPUT ! -i eth0 -j DROP"), "any device but one");
  assert(drops("-A INPUT -i eth+ -p udp -m multiport --dports 53,8000:9000 -j DROP"));
  assert(!drops("-A INPUT -s 172.28.128.101/32 -j ACCEPT\n-A INPUT -j DROP"));
  assert(drops("-A INPUT -s 172.28.128.102/32 -j ACCEPT\n-A INPUT -j DROP"));
  assert(drops('-A INPUT -m comment --comment "-j ACCEPT" -j LOG\n-A INPUT -j DROP'), "comment");
});

Deno.test("findObstacles() does not warn where a rule that it cannot read may accept", () => {
  for (
    const rule of [
      "-m set --match-set peers src -j ACCEPT",
      "-m mark --mark 0x1/0x1 -j ACCEPT",
      "-m set --match-set peers src -j RETURN",
      "-m set --match-set peers src -g A",
      "-j NFQUEUE --queue-num 0",
    ]
  ) assertEquals(textsOf([iptables(`:A - [0:0]\n-A INPUT ${rule}\n-A INPUT -j DROP`)]), [], rule);
  assertEquals(
    textsOf([iptables("-A INPUT -m set --match-set bad src -j DROP")]),
    [],
    "nor where one may drop",
  );
});

Deno.test("findObstacles() reads nftables' sets, ranges, verdict maps and wildcards", () => {
  const dport = { payload: { protocol: "udp", field: "dport" } };
  const drops = (rules: readonly (readonly Statement[])[], sets: readonly Statement[] = []) =>
    textsOf([nftables("site", { input: [...rules, [{ drop: null }]] }, { sets })]).length > 0;
  const peers = {
    set: { name: "peers", elem: ["172.28.128.101", { range: ["10.0.0.1", "10.0.0.9"] }] },
  };
  assert(!drops([[match(saddr, "@peers"), accept]], [peers]));
  assert(drops([[match(saddr, "@peers", "!="), accept]], [peers]));
  assert(!drops([[match(dport, { range: [8000, 9000] }), accept]]));
  assert(drops([[match(dport, { range: [8000, 8471] }), accept]]));
  assert(!drops([[match(iifname, { set: ["lo", "eth*"] }), accept]]));
  assert(drops([[match({ payload: { protocol: "tcp", field: "dport" } }, 8472, "!="), accept]]));
  assert(drops([[match({ meta: { key: "nfproto" } }, "ipv6"), accept]]));
  assert(!drops([[match({ fib: { result: "type", flags: ["daddr"] } }, "local"), accept]]));
  const vmap = (key: Statement, ...set: unknown[]) => [{ vmap: { key, data: { set } } }];
  const state = { ct: { key: "state" } };
  assert(drops([vmap(state, ["established", accept], ["invalid", { drop: null }])]));
  assert(!drops([vmap(state, ["established", accept], ["new", accept])]));
  assert(!drops([vmap({ meta: { key: "mark" } }, [1, accept])]), "a mark is not known");
});

Deno.test("findObstacles() finds a policy of an administrator's table, and names nft", () => {
  const table = nftables("corp", {}, { policy: "drop" });
  const insert = "nft insert rule inet corp";
  assertEquals(findObstacles([table], { ...SPEC, forward: true }, undefined), [{
    ...{ hook: "forward", tool: undefined },
    text: 'nftables chain "inet corp forward" drops forwarded packets of 10.20.0.0/16',
    commands: [
      `${insert} forward ip saddr 10.20.0.0/16 accept`,
      `${insert} forward ip daddr 10.20.0.0/16 accept`,
    ],
  }]);
  const [tunnel] = findObstacles([table], { ...SPEC, forward: false }, PATH);
  assertEquals(tunnel?.commands, [
    `${insert} input ip saddr 172.28.128.0/24 udp dport 8472 accept`,
  ]);
});

Deno.test("hostToolsIn() names each tool whose chains stand in a table, once", () => {
  const plain = iptables("-A INPUT -j DROP");
  assertEquals(hostToolsIn([plain, nftables("corp", {})]), []);
  assertEquals(hostToolsIn([iptables(":ufw-before-input - [0:0]"), firewalld()]), [
    "ufw",
    "firewalld",
  ]);
});

Deno.test("readNftables() and readIptables() walk whatever the tools write", () => {
  const packet: ProbePacket = {
    ...{ hook: "input", inDevice: "eth1", outDevice: "", source: 1, destination: 2 },
    ...{ protocol: "udp", port: 8472 },
  };
  const keys = ["match", "vmap", "jump", "goto", "accept", "limit", "xt", "meta", "ct", "fib"];
  const names = fc.constantFrom(...keys, "payload", "set", "range", "prefix", "elem", "op", "left");
  const json = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 5 },
      fc.constantFrom("@s", "udp", "a", null, 1, -1, true, "10.0.0.1"),
      fc.array(tie("value"), { maxLength: 3 }),
      fc.dictionary(fc.oneof(names, fc.constantFrom("right", "key", "data")), tie("value"), {
        maxKeys: 4,
      }),
    ),
  })).value;
  fc.assert(fc.property(fc.array(fc.array(json)), (rules) => {
    const text = JSON.stringify({
      nftables: [{ chain: { name: "c", hook: "input" } }, { set: { name: "s", elem: rules } }]
        .concat(rules.map((expr) => ({ rule: { chain: "c", expr } })) as never[]),
    });
    for (const rule of readNftables(text).get("c")!.rules) rule(packet);
  }));
  const word = fc.constantFrom(
    "-i",
    "-s",
    "!",
    "-j",
    "--dport",
    "-p",
    "1",
    "eth+",
    "A",
    "--x",
    '"',
  );
  fc.assert(fc.property(fc.array(fc.array(word).map((words) => words.join(" "))), (rules) => {
    const table = new Map([["A", { policy: "-", rules }]]);
    for (const rule of readIptables(table).get("A")!.rules) rule(packet);
  }));
});
