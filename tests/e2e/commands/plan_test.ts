import { assert, assertEquals, assertMatch } from "@std/assert";
import { GuideCluster } from "../../lab/guide_cluster.ts";
import type { UnderlayHost } from "../../lab/lab.ts";
import type { EtcdApi, LabEtcd } from "../../lab/etcd/lab_etcd.ts";
import { FLANNELD } from "../../lab/unit.ts";
import {
  CLOSED_PORT,
  CONFIG,
  eventually,
  overlayAddress,
  PREFIX,
  subnetOf,
  writeSysconfig,
} from "../guide.ts";
import { stateOf } from "../host_state.ts";

/**
 * Damage to objects of which none depends on another of the same round, and all lines about it in their order: `S` is
 * this host's subnet, `P` the peer's.
 */
interface Damage {
  readonly commands: readonly string[];
  readonly lines: readonly string[];
}

interface Case {
  readonly type: string;
  readonly config: string;
  readonly api: EtcdApi;
  readonly options: string;
  /** Lines of a plan on a bare host, besides lease, firewall and file. */
  readonly fresh: readonly RegExp[];
  /** The first also damages the firewall and subnet.env. */
  readonly damages: readonly [Damage, ...Damage[]];
}

/** Damage to the rules by the option's tool, and to subnet.env. */
const RULES: Readonly<Record<"iptables" | "nftables", Damage>> = {
  iptables: {
    commands: [
      "iptables -D FLANNEL-FWD -d 10.20.0.0/16 -m comment --comment 'flanneld forward' -j ACCEPT",
      "iptables -t nat -I FLANNEL-POSTRTG -s 10.20.9.0/24 -j ACCEPT",
    ],
    lines: [
      "- firewall iptables -t nat -A FLANNEL-POSTRTG -s 10.20.9.0/24 -j ACCEPT",
      '+ firewall iptables -t filter -A FLANNEL-FWD -d 10.20.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT',
    ],
  },
  nftables: {
    commands: ["nft add rule ip flannel-ipv4 forward ip saddr 10.20.9.0/24 accept"],
    lines: ["- firewall nft ip flannel-ipv4 forward ip saddr 10.20.9.0/24 accept"],
  },
};
const FILE: Damage = {
  commands: ["sed -i s/FLANNEL_MTU=.*/FLANNEL_MTU=9000/ /run/flannel/subnet.env"],
  lines: [
    "- file /run/flannel/subnet.env FLANNEL_MTU=9000",
    "+ file /run/flannel/subnet.env FLANNEL_MTU=M",
  ],
};

const CASES: readonly Case[] = [
  {
    type: "vxlan",
    config: CONFIG,
    api: "v2",
    options: "-iface=eth1 -ip-masq -firewall=iptables -vxlan-tx-checksum=off",
    fresh: [
      /^\+ tx-checksum-ip-generic off dev flannel\.1$/m,
      /^\+ device flannel\.1 type vxlan id 1 local 172\.28\.128\.100 dev eth1 dstport 8472 nolearning mtu 1450 up$/m,
      /^\+ address 10\.20\.\d+\.0\/32 dev flannel\.1$/m,
      /^\+ route 10\.20\.\d+\.0\/24 via 10\.20\.\d+\.0 dev flannel\.1 proto 102 onlink$/m,
      /^\+ neighbour 10\.20\.\d+\.0 lladdr \S+ dev flannel\.1$/m,
      /^\+ fdb \S+ dst 172\.28\.128\.101 dev flannel\.1$/m,
    ],
    damages: [
      {
        // With the last address the kernel takes what depends on it.
        commands: ["ip address del S/32 dev flannel.1"],
        lines: [
          "+ address S/32 dev flannel.1",
          "+ neighbour P lladdr MAC dev flannel.1",
          "+ route P/24 via P dev flannel.1 proto 102 onlink",
        ],
      },
      {
        commands: [
          "ip address add 10.20.0.7/32 dev flannel.1",
          "ip route del P/24",
          "ip neighbour replace P lladdr 02:00:00:00:00:01 dev flannel.1 nud permanent",
          "bridge fdb del MAC dev flannel.1 dst 172.28.128.101",
        ],
        lines: [
          "- neighbour P lladdr 02:00:00:00:00:01 dev flannel.1",
          "+ neighbour P lladdr MAC dev flannel.1",
          "+ fdb MAC dst 172.28.128.101 dev flannel.1",
          "+ route P/24 via P dev flannel.1 proto 102 onlink",
          "- address 10.20.0.7/32 dev flannel.1",
        ],
      },
      {
        commands: [
          "ip route replace P/24 dev eth1 proto 102",
          "ip route add 10.20.0.0/24 dev eth1 proto 102",
          "ip link set flannel.1 mtu 1400",
          "ethtool -K flannel.1 tx-checksum-ip-generic on",
        ],
        lines: [
          "- device flannel.1 address OWN mtu 1400 up",
          "+ device flannel.1 address OWN mtu 1450 up",
          "- tx-checksum-ip-generic on dev flannel.1",
          "+ tx-checksum-ip-generic off dev flannel.1",
          "- route P/24 dev eth1 proto 102",
          "+ route P/24 via P dev flannel.1 proto 102 onlink",
          "- route 10.20.0.0/24 dev eth1 proto 102",
        ],
      },
    ],
  },
  {
    type: "udp",
    config: '{"Network": "10.20.0.0/16"}',
    api: "v3",
    options: "-iface=eth1 -ip-masq -firewall=nftables",
    fresh: [
      /^\+ device flannel0 type tun mtu 1472 up$/m,
      /^\+ address 10\.20\.\d+\.0\/32 dev flannel0$/m,
      /^\+ route 10\.20\.0\.0\/16 dev flannel0 proto 102$/m,
      /^\+ eBPF program decapsulate dev eth1 ingress$/m,
      /^\+ eBPF program encapsulate dev flannel0 egress$/m,
      /^\+ device flannel0-gro type vxlan id 8285 dstport 28285 nolearning mtu 1279 up$/m,
      /^\+ eBPF program gro_arrival dev flannel0-gro ingress$/m,
    ],
    damages: [
      {
        commands: [
          "ip address del S/32 dev flannel0",
          "ip link set flannel0 mtu 1400",
          "ip link del flannel0-gro",
        ],
        lines: [
          "- device flannel0 mtu 1400 up",
          "+ device flannel0 mtu 1472 up",
          "+ device flannel0-gro type vxlan id 8285 dstport 28285 nolearning mtu 1279 up",
          "+ address S/32 dev flannel0",
          "+ route 10.20.0.0/16 dev flannel0 proto 102",
          "+ eBPF program gro_arrival dev flannel0-gro ingress",
        ],
      },
      {
        commands: ["ip route del 10.20.0.0/16 dev flannel0"],
        lines: ["+ route 10.20.0.0/16 dev flannel0 proto 102"],
      },
    ],
  },
  {
    type: "host-gw",
    config: '{"Network": "10.20.0.0/16", "Backend": {"Type": "host-gw"}}',
    api: "v2",
    options: "-iface=eth1 -ip-masq -firewall=iptables",
    fresh: [/^\+ route 10\.20\.\d+\.0\/24 via 172\.28\.128\.101 dev eth1 proto 102$/m],
    damages: [
      {
        commands: ["ip route replace P/24 via 172.28.128.77 dev eth1 proto 102"],
        lines: [
          "- route P/24 via 172.28.128.77 dev eth1 proto 102",
          "+ route P/24 via 172.28.128.101 dev eth1 proto 102",
        ],
      },
    ],
  },
  {
    type: "alloc",
    config: '{"Network": "10.20.0.0/16", "Backend": {"Type": "alloc"}}',
    api: "v3",
    options: "-iface=eth1 -ip-masq -firewall=nftables",
    fresh: [],
    damages: [{ commands: [], lines: [] }],
  },
];

function plan(host: UnderlayHost, ...flags: string[]) {
  return host.run([FLANNELD, "plan", "-detailed-exitcode", ...flags]);
}

/** The lines of a plan that begin with a sign. */
function changesOf(stdout: string): string[] {
  return stdout.split("\n").filter((line) => /^[-+!] /.test(line));
}

/** Returns the keys and values below a prefix. */
async function storeOf(etcd: LabEtcd, api: EtcdApi): Promise<string[]> {
  const keys = (await Promise.all(
    ["subnets", "agents"].map((directory) => etcd.keys(api, `${PREFIX}/${directory}`)),
  )).flat();
  return await Promise.all(keys.map(async (key) => `${key} ${await etcd.get(api, key)}`));
}

for (const { type, config, api, options, fresh, damages } of CASES) {
  Deno.test(`flanneld plan shows the exact changes of ${type}, and makes none, on etcd ${api}`, async () => {
    await using cluster = await GuideCluster.start({ hosts: 2, etcdOn: 1, api, config, options });
    const { etcd } = cluster;
    const [here, there] = cluster.hosts as [UnderlayHost, UnderlayHost];
    await cluster.startAgent(there);

    const before = [await stateOf(here), await storeOf(etcd, api)];
    const first = await plan(here);
    assertEquals([first.code, first.stderr], [3, ""]);
    assertEquals((await here.run([FLANNELD, "plan"])).code, 0);
    assertMatch(first.stdout, /^ {2}interface eth1 172\.28\.128\.100, mtu 1500$/m);
    assertMatch(first.stdout, /^\+ lease 10\.20\.\d+\.0\/24 \{"PublicIP":"172\.28\.128\.100"/m);
    assertMatch(first.stdout, /^\+ node record 172\.28\.128\.100 of host host100$/m);
    assertMatch(first.stdout, /^\+ firewall (iptables|nft) .*masq/im);
    assertMatch(
      first.stdout,
      /^\+ file \/run\/flannel\/subnet\.env FLANNEL_NETWORK=10\.20\.0\.0\/16$/m,
    );
    for (const line of fresh) assertMatch(first.stdout, line);
    assertEquals([await stateOf(here), await storeOf(etcd, api)], before);

    const agent = await cluster.startAgent(here);
    await eventually("a plan that is empty", async () => (await plan(here)).code === 0);
    const unchanged = await plan(here);
    assertEquals(unchanged.stderr, "");
    assertEquals(changesOf(unchanged.stdout), []);
    assertMatch(unchanged.stdout, /nothing would change\n$/);
    await agent.stop();
    assertEquals((await plan(here)).code, 0);

    const words = await wordsOf(cluster, here, there);
    const fill = (text: string) =>
      text.replace(/\b(S|P|MAC|OWN|M)\b/g, (word) => words[word] ?? word);
    const rules = RULES[options.includes("iptables") ? "iptables" : "nftables"];
    for (const [i, damage] of damages.entries()) {
      const all = i === 0 ? [damage, rules, FILE] : [damage];
      const command = fill(all.flatMap(({ commands }) => commands).join("; "));
      const lines = all.flatMap((one) => one.lines).map(fill);
      await here.exec(["sh", "-ec", command]);
      const left = [await stateOf(here), await storeOf(etcd, api)];
      const { code, stdout, stderr } = await plan(here);
      assertEquals([code, stderr], [3, ""], command);
      assertEquals(changesOf(stdout), lines, command);
      const json = await here.run([FLANNELD, "plan", "-json"]);
      const { version, networks: [only, ...others] } = JSON.parse(json.stdout);
      assertEquals([json.code, version, only.error, others], [0, 1, null, []], command);
      assertEquals(
        only.changes.map(({ action, object }: { action: string; object: string }) =>
          `${action === "add" ? "+" : "-"} ${object}`
        ),
        lines,
        command,
      );
      assertEquals([await stateOf(here), await storeOf(etcd, api)], left, command);
      // The agent makes the planned changes, and no further ones.
      const again = await cluster.startAgent(here);
      await again.stop();
      assertEquals(changesOf((await plan(here)).stdout), [], command);
    }
  });
}

/** Values of the placeholders: this host's subnet, the peer's, both VTEP MACs, and the MTU. */
async function wordsOf(
  cluster: GuideCluster,
  here: UnderlayHost,
  there: UnderlayHost,
): Promise<Record<string, string>> {
  const macOf = async (host: UnderlayHost) =>
    (await cluster.leaseValue(host))!.BackendData?.VtepMAC;
  const env = await here.readTextFile("/run/flannel/subnet.env");
  return {
    S: await overlayAddress(here),
    P: await overlayAddress(there),
    M: /FLANNEL_MTU=(\d+)/.exec(env)![1]!,
    ...Object.fromEntries(
      [["MAC", await macOf(there)], ["OWN", await macOf(here)]].filter(([, mac]) => mac),
    ),
  };
}

Deno.test("flanneld plan foresees another config, and which lease goes", async () => {
  await using cluster = await GuideCluster.start();
  const { host } = cluster;
  await (await cluster.startAgent(host)).stop();
  const subnet = await subnetOf(host);
  await cluster.setConfig(CONFIG.replace("10.20.0.0", "10.30.0.0"));
  const { code, stdout } = await plan(host);
  assertEquals(code, 3);
  const lines = changesOf(stdout);
  assert(lines.some((line) => line.startsWith(`- lease ${subnet} {`)), stdout);
  assert(lines.some((line) => line.startsWith("+ lease 10.30.")), stdout);
  assert(lines.includes(`- address ${subnet.split("/")[0]}/32 dev flannel.1`), stdout);
  assert(lines.includes("- file /run/flannel/subnet.env FLANNEL_NETWORK=10.20.0.0/16"), stdout);
  // The device is the same, with its MAC: peers need not learn another.
  assert(!lines.some((line) => line.includes("device")), stdout);

  await cluster.setConfig(CONFIG.replace('vxlan"', 'vxlan", "VNI": 1, "Port": 4789'));
  const port = changesOf((await plan(host)).stdout).filter((line) => line.includes("device"));
  assertEquals(port.map((line) => line.replace(/^(. device).*(dstport \d+).*$/, "$1 $2")), [
    "- device dstport 8472",
    "+ device dstport 4789",
  ]);
});

Deno.test("flanneld plan shows udp's programs, which are added and removed with -udp-datapath, as long as the kernel takes them", async () => {
  const config = '{"Network": "10.20.0.0/16"}';
  await using cluster = await GuideCluster.start({ config, options: "-iface=eth1" });
  const { host, etcd } = cluster;
  const setOptions = (options: string) => writeSysconfig(host, etcd, { options });
  const planned = async (...prefix: string[]) =>
    changesOf((await host.run([...prefix, FLANNELD, "plan"])).stdout);
  const carriers = [
    "device flannel0-gro type vxlan id 8285 dstport 28285 nolearning mtu 1279 up",
    "eBPF program decapsulate dev eth1 ingress",
    "eBPF program encapsulate dev flannel0 egress",
    "eBPF program gro_arrival dev flannel0-gro ingress",
  ];
  const [come, go] = ["+", "-"].map((sign) => carriers.map((text) => `${sign} ${text}`));
  const serve = async (options: string) => {
    await setOptions(options);
    await (await cluster.startAgent(host)).stop();
    assertEquals(await planned(), []);
  };

  await serve("-iface=eth1 -udp-datapath=user");
  await setOptions("-iface=eth1");
  assertEquals(await planned(), come);
  // With CAP_NET_ADMIN alone the kernel refuses programs, to plan and to the agent.
  assertEquals(await planned("setpriv", "--bounding-set=-bpf,-sys_admin,-perfmon"), []);
  await host.exec(["mount", "-t", "bpf", "-o", "ro", "bpf", "/sys/fs/bpf"]);
  assertEquals(await planned(), []);
  await serve("-iface=eth1");
  await host.exec(["umount", "/sys/fs/bpf"]);
  await serve("-iface=eth1");
  await setOptions("-iface=eth1 -udp-datapath=user");
  assertEquals(await planned(), go);
  await serve("-iface=eth1 -udp-datapath=user");
});

Deno.test("flanneld plan exits with 1, or 2 for a usage error, and one line when it cannot plan", async () => {
  await using cluster = await GuideCluster.start({ config: null });
  const { host } = cluster;
  const cases: readonly (readonly [string[], RegExp, number?])[] = [
    [[], /no config|Key not found|failed to retrieve network config/],
    [["-etcd-api=v2"], /failed to retrieve network config: 100: Key not found/],
    [[`-etcd-endpoints=http://127.0.0.1:${CLOSED_PORT}`], /127\.0\.0\.1:4002: .*refused/],
    [["-iface=eth9"], /eth9/],
    [["-no-such-flag"], /flag provided but not defined: -no-such-flag/, 2],
    [["-ip-masq=maybe"], /ip-masq/, 2],
    [["now"], /unexpected argument "now"/, 2],
  ];
  const before = await stateOf(host);
  for (const [flags, message, expected = 1] of cases) {
    const { code, stdout, stderr } = await plan(host, ...flags);
    assertEquals([code, stdout], [expected, ""], stderr);
    assertMatch(stderr, message);
    assert(!/defect|at file:/.test(stderr), stderr);
  }
  await cluster.setConfig('{"Network": "10.20.0.0/16", "Backend": {"Type": "x"}}');
  const unknown = await plan(host);
  assertEquals(unknown.code, 1);
  assertMatch(unknown.stderr, /unknown backend type: x/);
  assertEquals(await stateOf(host), before);
});
