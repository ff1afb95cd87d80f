import { assertEquals, assertMatch } from "@std/assert";
import { Lab, type UnderlayHost } from "../../lab/lab.ts";
import { LabEtcd } from "../../lab/etcd/lab_etcd.ts";
import { FLANNELD, LabUnit } from "../../lab/unit.ts";
import { CLOSED_PORT, eventually, PREFIX, subnetOf, writeSysconfig } from "../guide.ts";

/** Subnets are picked from these, so that what a sabotage adds elsewhere meets none. */
const CONFIG = '{"Network": "10.20.0.0/16", "SubnetMin": "10.20.10.0", ' +
  '"SubnetMax": "10.20.19.0", "Backend": {"Type": "vxlan"}}';

interface Report {
  readonly id: string;
  readonly verdict: string;
  readonly summary: string;
  readonly evidence: readonly string[];
  readonly fix: readonly string[];
}

/** Two hosts of the guide with everything as it should be. */
class Patient {
  readonly lab: Lab;
  readonly here: UnderlayHost;
  readonly there: UnderlayHost;
  readonly etcd: LabEtcd;
  /** Of the first host. */
  agent: LabUnit;
  /** Of the other. */
  readonly peer: LabUnit;

  constructor(lab: Lab, etcd: LabEtcd, [agent, peer]: readonly [LabUnit, LabUnit]) {
    this.peer = peer;
    this.lab = lab;
    [this.here, this.there] = lab.hosts as [UnderlayHost, UnderlayHost];
    this.etcd = etcd;
    this.agent = agent;
  }

  static async admit(stack: AsyncDisposableStack): Promise<Patient> {
    const lab = stack.use(await Lab.start({ hosts: 2 }));
    const hosts = lab.hosts as [UnderlayHost, UnderlayHost];
    const etcd = stack.use(await LabEtcd.start(hosts[0]));
    await etcd.set("v2", `${PREFIX}/config`, CONFIG);
    const agents: LabUnit[] = [];
    for (const host of hosts) {
      await writeSysconfig(host, etcd);
      await host.exec(["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
      agents.push(await LabUnit.start(host));
    }
    stack.use(agents[1]!);
    const patient = new Patient(lab, etcd, agents as [LabUnit, LabUnit]);
    stack.defer(() => patient.agent[Symbol.asyncDispose]());
    for (const host of hosts) await addBridge(host);
    return patient;
  }

  /** Runs the doctor on the first host. */
  async doctor(...flags: string[]) {
    const { code, stdout, stderr } = await this.here.run([FLANNELD, "doctor", "-json", ...flags]);
    assertMatch(
      stderr,
      flags.length === 0 ? /^$/ : /^(using other options than the agent's: .*\n)?$/,
    );
    const { checks } = JSON.parse(stdout) as { checks: Report[] };
    return { code, checks };
  }

  run(command: string): Promise<string> {
    return this.here.exec(["sh", "-c", command]);
  }
}

/** Effects of Docker's options. */
async function addBridge(host: UnderlayHost): Promise<void> {
  const address = (await subnetOf(host)).replace(/\.0\//, ".1/");
  for (
    const line of [
      "link add docker0 mtu 1450 type bridge",
      `address add ${address} dev docker0`,
      "link set docker0 up",
    ]
  ) await host.exec(["ip", ...line.split(" ")]);
}

/** Expected of the checks that need a config, where there is none that can be used. */
const WITHOUT_CONFIG = Object.fromEntries(
  [
    ...["public-ip", "lease", "conflict", "forwarding", "firewall", "docker-address"],
    ...["docker-mtu", "kernel", "route-tables", "peers", "containers", "path-mtu", "versions"],
  ].map((id) => [id, "unchecked"]),
);

interface Sabotage {
  readonly what: string;
  /** Run on the first host (`OWN` is its subnet, `OWN1` its first address), and undone afterwards. */
  readonly here?: readonly [sabotage: string, undo: string];
  /** Run on the other host. */
  readonly there?: readonly [sabotage: string, undo: string];
  /** The other host's agent stands still as well. */
  readonly peerStops?: true;
  /** Run on the host that all cables end in. */
  readonly hub?: readonly [sabotage: string, undo: string];
  /** Keys of the store and their values meanwhile. */
  readonly keys?: Readonly<Record<string, string>>;
  readonly flags?: readonly string[];
  /**
   * The first host's agent has ended, or a signal stops it where it would repair or follow the sabotage.
   *
   * @default it runs
   */
  readonly agent?: "ended" | "stopped";
  /** Seconds by which etcd's clock is ahead of this machine's. */
  readonly skew?: number;
  /** Verdicts other than ok. */
  readonly expected: Readonly<Record<string, string>>;
  /** Matches the whole output of the check that is named first. */
  readonly says: RegExp;
}

const SKEWED_ETCD = new URL("../../lab/etcd/skewed_etcd.ts", import.meta.url).pathname;

/** Settings without -iface. */
const BARE = "-sysconfig=/etc/sysconfig/bare";

const SABOTAGES: readonly Sabotage[] = [
  {
    what: "an endpoint where no etcd is",
    flags: [`-etcd-endpoints=http://172.28.128.100:${CLOSED_PORT}`],
    expected: {
      store: "problem",
      prefix: "unchecked",
      config: "unchecked",
      ...WITHOUT_CONFIG,
      clock: "unchecked",
    },
    says: /172\.28\.128\.100:4002: .*refused[^]*curl -sS/,
  },
  {
    what: "the guide's prefix of another config",
    flags: ["-etcd-prefix=/atomic.io/network"],
    expected: { prefix: "problem", config: "unchecked", ...WITHOUT_CONFIG },
    says:
      /100: Key not found[^]*etcd v2 holds one at prefix \/flannel\/network[^]*FLANNEL_ETCD_PREFIX="\/flannel\/network"/,
  },
  {
    what: "the API that has no config",
    flags: ["-etcd-api=v3"],
    expected: { prefix: "problem", config: "unchecked", ...WITHOUT_CONFIG },
    says: /take it from etcd v2: -etcd-api=v2/,
  },
  {
    what: "a key with a slip of the keyboard",
    agent: "stopped",
    keys: { config: CONFIG.replace("{", '{"SubnetLenn": 24, ') },
    expected: { config: "warning" },
    says: /SubnetLenn .*did you mean SubnetLen\?/,
  },
  {
    what: "a config that cannot be used",
    agent: "stopped",
    keys: { config: CONFIG.replace("{", '{"SubnetLen": 31, ') },
    expected: { config: "problem", ...WITHOUT_CONFIG, "public-ip": "ok" },
    says: /SubnetLen must be less than \/31: SubnetLen is 31/,
  },
  {
    what: "an interface that is not there",
    flags: [BARE, "-iface=eth9"],
    expected: {
      ...{ interface: "problem", ...WITHOUT_CONFIG, "rp-filter": "unchecked" },
      "route-tables": "ok",
    },
    says: /eth9[^]*this host has[^]*-iface=eth1/,
  },
  {
    what: "Vagrant's NAT on the default route",
    flags: [BARE],
    expected: {
      ...{ interface: "warning", lease: "problem", "docker-address": "unchecked" },
      // Of a subnet that this host would lease by eth0.
      ...{ kernel: "problem", firewall: "problem" },
      ...{ peers: "unchecked", containers: "unchecked", "path-mtu": "unchecked" },
      ...{ versions: "unchecked" },
    },
    says: /took eth0 \(10\.0\.2\.15\)[^]*VirtualBox[^]*-iface=eth1/,
  },
  {
    what: "a public IP that another host holds",
    agent: "stopped",
    keys: {
      "agents/172.28.128.100": JSON.stringify({
        ...{ machineId: "f".repeat(32), hostname: "twin", bootId: "b", instance: "i" },
        ...{ version: "0.1.0", started: "2026-01-01T00:00:00Z" },
      }),
    },
    expected: { "public-ip": "problem" },
    says: /held by host twin, not by this one[^]*-public-ip/,
  },
  {
    what: "subnet.env of another subnet",
    agent: "stopped",
    here: [
      "sed -i.kept 's/^FLANNEL_SUBNET=.*/FLANNEL_SUBNET=10.20.99.1\\/24/' /run/flannel/subnet.env",
      "mv /run/flannel/subnet.env.kept /run/flannel/subnet.env",
    ],
    expected: { lease: "problem" },
    says: /subnet 10\.20\.99\.0\/24[^]*the store: subnet OWN/,
  },
  {
    what: "an agent that was stopped",
    agent: "ended",
    expected: { agent: "problem" },
    says: /no flanneld runs with \/run\/flannel\/subnet\.env[^]*systemctl enable --now flanneld/,
  },
  {
    what: "an agent that never ran, with another subnet file and public IP",
    flags: ["-subnet-file=/run/elsewhere/subnet.env", "-public-ip=172.28.128.177"],
    expected: {
      // The bridge of the agent that did run is in the range.
      ...{
        agent: "problem",
        conflict: "problem",
        lease: "unchecked",
        "docker-address": "unchecked",
      },
      ...{ firewall: "unchecked", kernel: "unchecked", peers: "unchecked" },
      ...{ containers: "unchecked", "path-mtu": "unchecked", versions: "unchecked" },
    },
    says: /no flanneld runs with \/run\/elsewhere\/subnet\.env/,
  },
  {
    what: "a clock that is a minute behind",
    skew: 60,
    expected: { clock: "warning" },
    says: /this host's clock is (59|60) s behind that of http:\/\/127/,
  },
  {
    what: "a clock that is two hours ahead",
    skew: -7200,
    expected: { clock: "problem" },
    says: /this host's clock is (7199|7200) s ahead of[^]*more than the margin/,
  },
  {
    what: "a network of the host's own in the range",
    agent: "stopped",
    here: ["ip address add 10.20.200.1/24 dev eth0", "ip address del 10.20.200.1/24 dev eth0"],
    expected: { conflict: "problem" },
    says: /eth0 has 10\.20\.200\.1\/24/,
  },
  {
    what: "a kernel that does not forward",
    here: ["sysctl -w net.ipv4.ip_forward=0", "sysctl -w net.ipv4.ip_forward=1"],
    expected: { forwarding: "problem", containers: "problem" },
    says: /sysctl -w net\.ipv4\.ip_forward=1/,
  },
  {
    what: "one interface that does not forward",
    here: [
      "sysctl -w net.ipv4.conf.docker0.forwarding=0",
      "sysctl -w net.ipv4.conf.docker0.forwarding=1",
    ],
    expected: { forwarding: "problem", containers: "problem" },
    says: /conf\/docker0\/forwarding/,
  },
  {
    what: "a strict filter of reverse paths",
    here: [
      "sysctl -w net.ipv4.conf.eth1.rp_filter=1; ip route add 172.28.128.101/32 via 10.0.2.2 dev eth0",
      "sysctl -w net.ipv4.conf.eth1.rp_filter=0; ip route del 172.28.128.101/32",
    ],
    expected: {
      "rp-filter": "problem",
      peers: "problem",
      containers: "unchecked",
      "path-mtu": "unchecked",
    },
    says: /172\.28\.128\.101 would be answered by eth0[^]*rp_filter=2/,
  },
  {
    what: "rules that do not see the bridge",
    here: [
      "sysctl -w net.bridge.bridge-nf-call-iptables=0",
      "sysctl -w net.bridge.bridge-nf-call-iptables=1",
    ],
    expected: { "bridge-netfilter": "warning" },
    says: /sysctl -w net\/bridge\/bridge-nf-call-iptables=1/,
  },
  {
    what: "a removed rule of flanneld",
    agent: "stopped",
    here: ["iptables-save > /run/rules; iptables -F FLANNEL-FWD", "iptables-restore < /run/rules"],
    expected: { firewall: "problem" },
    says: /\+ firewall iptables .*-A FLANNEL-FWD -s 10\.20\.0\.0\/16/,
  },
  {
    what: "somebody else's chain that drops",
    here: [
      "nft 'add table inet corp; add chain inet corp through { type filter hook forward priority 0; policy drop; }'",
      "nft delete table inet corp",
    ],
    expected: { firewall: "problem", containers: "problem" },
    says:
      /the policy of nftables chain "inet corp through" drops it[^]*nft add rule inet corp through iifname "flannel\.1"/,
  },
  {
    what: "a rule against packets from other hosts' containers",
    here: [
      "iptables -I FORWARD -i flannel.1 -m conntrack --ctstate NEW -j DROP",
      "iptables -D FORWARD 1",
    ],
    expected: { firewall: "problem", containers: "problem" },
    says:
      /iptables rule 1 of chain FORWARD, table filter: .*--ctstate NEW -j DROP drops it[^]*iptables -I FORWARD 1 -i flannel\.1 -s 10\.20\.0\.0\/16 -d OWN -j ACCEPT/,
  },
  {
    what: "Docker on its own range",
    here: [
      "ip address add 172.17.0.1/16 dev docker0; ip address del OWN1/24 dev docker0",
      "ip address del 172.17.0.1/16 dev docker0; ip address add OWN1/24 dev docker0",
    ],
    expected: { "docker-address": "problem" },
    says: /docker0 has 172\.17\.0\.1\/16, not in OWN[^]*systemctl restart docker/,
  },
  {
    what: "containers with the interface's MTU",
    here: ["ip link set docker0 mtu 1500", "ip link set docker0 mtu 1450"],
    expected: { "docker-mtu": "problem" },
    says: /packets of 1500 bytes, and 1450 fits/,
  },
  {
    what: "a route that nobody needs",
    agent: "stopped",
    here: ["ip route add 10.20.30.0/24 dev eth1 proto 102", "ip route del 10.20.30.0/24"],
    expected: { kernel: "problem" },
    says: /- route 10\.20\.30\.0\/24 dev eth1 proto 102/,
  },
  {
    what: "a route of a network that nobody serves any more",
    here: ["ip route add 10.99.30.0/24 dev eth1 proto 102", "ip route del 10.99.30.0/24"],
    expected: { kernel: "warning" },
    says:
      /stale route 10\.99\.30\.0\/24 dev eth1 proto 102[^]*ip route del 10\.99\.30\.0\/24 dev eth1/,
  },
  {
    what: "a missing FDB entry",
    agent: "stopped",
    here: [
      "bridge fdb show dev flannel.1 > /run/fdb; bridge fdb del $(cut -d' ' -f1 /run/fdb) dev flannel.1 dst 172.28.128.101",
      "bridge fdb append $(cut -d' ' -f1 /run/fdb) dev flannel.1 dst 172.28.128.101",
    ],
    expected: {
      kernel: "problem",
      peers: "problem",
      containers: "unchecked",
      "path-mtu": "unchecked",
    },
    says: /\+ fdb \S+ dst 172\.28\.128\.101 dev flannel\.1/,
  },
  {
    what: "the port dropped at the other host",
    there: [
      "iptables -I INPUT -p udp --dport 8472 -j DROP",
      "iptables -D INPUT -p udp --dport 8472 -j DROP",
    ],
    expected: { peers: "problem", containers: "unchecked", "path-mtu": "unchecked" },
    says:
      /UDP port 8472 is blocked between[^]*host101 .*dropped on the way[^]*firewall-cmd[^]*iptables -I INPUT -p udp --dport 8472 -j ACCEPT/,
  },
  {
    what: "the port refused at the other host",
    there: [
      "iptables -I INPUT -p udp --dport 8472 -j REJECT --reject-with icmp-host-prohibited",
      "iptables -D INPUT 1",
    ],
    expected: { peers: "problem", containers: "unchecked", "path-mtu": "unchecked" },
    says:
      /UDP port 8472 is refused \(host administratively prohibited, reported by 172\.28\.128\.101\)/,
  },
  {
    what: "the port dropped at this host",
    here: [
      "iptables -I INPUT -p udp --dport 8472 -j DROP",
      "iptables -D INPUT -p udp --dport 8472 -j DROP",
    ],
    expected: {
      ...{ firewall: "problem", peers: "problem", containers: "unchecked" },
      "path-mtu": "unchecked",
    },
    says:
      /iptables rule 1 of chain INPUT, table filter: -A INPUT -p udp .*--dport 8472 -j DROP drops it[^]*iptables -I INPUT 1 -i eth1 -p udp --dport 8472 -j ACCEPT/,
  },
  {
    what: "no tunnel at the other host",
    there: ["ip link del flannel.1", "true"],
    peerStops: true,
    expected: { peers: "problem", containers: "unchecked", "path-mtu": "unchecked" },
    says: /nobody there takes UDP port 8472[^]*systemctl start flanneld/,
  },
  {
    what: "the other host's cable pulled",
    hub: ["ip link set host101-eth1 down", "ip link set host101-eth1 up"],
    expected: { peers: "problem", containers: "unchecked", "path-mtu": "unchecked" },
    says: /no other host answers, not even at its public address[^]*flanneld lease evict PUBLIC-IP/,
  },
  {
    // A bridge leaves room for a VLAN tag: 1400 bytes are 1404 to it.
    what: "a switch that takes no full frames",
    hub: ["ip link set host101-eth1 mtu 1400", "ip link set host101-eth1 mtu 1500"],
    expected: { "path-mtu": "problem" },
    says: /packets of 1450 bytes do not get to 1 of 1 hosts; 1354 do[^]*ip link set eth1 mtu 1404/,
  },
  {
    what: "a host of another backend",
    keys: { "subnets/10.20.50.0-24": '{"PublicIP":"172.28.128.150","BackendType":"host-gw"}' },
    expected: { versions: "problem" },
    says: /172\.28\.128\.150, 10\.20\.50\.0\/24: host-gw/,
  },
  {
    what: "a host that is gone",
    keys: {
      "subnets/10.20.51.0-24":
        '{"PublicIP":"172.28.128.151","BackendType":"vxlan","BackendData":{"VtepMAC":"0a:00:00:00:00:01"}}',
    },
    expected: { peers: "warning" },
    says: /1 of 2 hosts do not answer[^]*172\.28\.128\.151/,
  },
];

Deno.test("flanneld doctor finds nothing wrong with a healthy host, then each of a table of sabotages and nothing else", async (t) => {
  await using stack = new AsyncDisposableStack();
  const patient = await Patient.admit(stack);
  const { here, there, lab, etcd } = patient;
  await here.writeTextFile(
    "/etc/sysconfig/bare",
    `FLANNEL_ETCD_ENDPOINTS="${etcd.endpoint}"\nFLANNEL_ETCD_PREFIX="${PREFIX}"\n`,
  );
  const subnet = await subnetOf(here);
  const fill = (text: string) =>
    text.replaceAll("OWN1/24", subnet.replace(/\.0\//, ".1/")).replaceAll("OWN", subnet);

  const healthy = await patient.doctor();
  assertEquals(notOk(healthy.checks), {});
  assertEquals(healthy.code, 0);
  const text = await here.run([FLANNELD, "doctor"]);
  assertEquals([text.code, text.stderr], [0, ""]);
  assertMatch(text.stdout, /^ok +peers +1 of 1, \d+\.\d\d ms$/m);
  assertMatch(text.stdout, /^0 problems, 0 warnings, 0 not checked$/m);

  await t.step("a user other than root learns which checks need root", async () => {
    await here.exec(["install", "-m", "755", FLANNELD, "/run/flanneld"]);
    const { code, stdout } = await here.run([
      ...["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
      ...["/run/flanneld", "doctor", "-json"],
    ]);
    await here.exec(["rm", "/run/flanneld"]);
    const checks = (JSON.parse(stdout) as { checks: Report[] }).checks;
    const withheld = ["agent", "firewall", "kernel", "peers", "containers", "path-mtu"];
    assertEquals(
      [code, notOk(checks)],
      [0, Object.fromEntries(withheld.map((id) => [id, "unchecked"]))],
    );
    for (const { verdict, summary } of checks) {
      if (verdict !== "ok") assertEquals(summary, "not checked: it takes root: run as root");
    }
  });

  const untilWell = (what: string) =>
    eventually(
      `well again after ${what}`,
      async () => Object.keys(notOk((await patient.doctor()).checks)).length === 0,
    );
  const attempt = async ({ what, flags = [], expected, says, ...sabotage }: Sabotage) => {
    await t.step(what, async () => {
      await using undo = new AsyncDisposableStack();
      const step = async (
        host: { exec(command: string[]): Promise<string> },
        at: 0 | 1,
        commands?: readonly string[],
      ) => {
        if (commands !== undefined) await host.exec(["sh", "-ec", fill(commands[at]!)]);
      };
      if (sabotage.agent === "ended") {
        await patient.agent.stop();
        undo.defer(async () => {
          patient.agent = await LabUnit.start(here);
        });
      }
      if (sabotage.peerStops) {
        patient.peer.process.signal("SIGSTOP");
        undo.defer(() => patient.peer.process.signal("SIGCONT"));
      }
      const more: string[] = [];
      if (sabotage.skew !== undefined) {
        const proxy = undo.use(
          await here.spawn([
            ...[Deno.execPath(), "run", "-A", "--no-check", "--no-lock", SKEWED_ETCD],
            ...[etcd.endpoint, String(sabotage.skew)],
          ], { env: { DENO_DIR: `${here.dir}/deno` } }),
        );
        const [, port] = await proxy.waitFor(/serving on port (\d+)/);
        more.push(`-etcd-endpoints=http://127.0.0.1:${port}`);
      }
      for (
        const [host, commands] of [[here, sabotage.here], [there, sabotage.there], [
          lab.switch,
          sabotage.hub,
        ]] as const
      ) {
        await step(host, 0, commands);
        undo.defer(() => step(host, 1, commands));
      }
      for (const [key, value] of Object.entries(sabotage.keys ?? {})) {
        const path = `${PREFIX}/${key}`;
        const before = await etcd.get("v2", path);
        await etcd.set("v2", path, value);
        undo.defer(async () => {
          if (before === undefined) await etcd.ctl("v2", ["rm", path]);
          else await etcd.set("v2", path, before);
        });
      }
      const { code, checks } = await patient.doctor(...flags, ...more);
      const wanted = Object.fromEntries(
        Object.entries(expected).filter(([, verdict]) => verdict !== "ok"),
      );
      assertEquals(notOk(checks), wanted, JSON.stringify(checks, undefined, 1));
      assertEquals(code, Object.values(expected).includes("problem") ? 1 : 0);
      const [first] = Object.keys(expected);
      const report = checks.find(({ id }) => id === first)!;
      const all = [report.summary, ...report.evidence, ...report.fix].join("\n");
      assertMatch(all, new RegExp(fill(says.source)));
    });
    // The next step finds what is left behind, unless an agent has to repair it first.
    if (sabotage.agent === "ended" || sabotage.peerStops) await untilWell(what);
  };

  const running = SABOTAGES.filter(({ agent }) => agent !== "stopped");
  for (const sabotage of running) await attempt(sabotage);
  // Follows what the last one has undone, before it stands still.
  await untilWell("the sabotages beside a running agent");
  patient.agent.process.signal("SIGSTOP");
  for (const sabotage of SABOTAGES) if (!running.includes(sabotage)) await attempt(sabotage);
  patient.agent.process.signal("SIGCONT");
  await untilWell("all sabotages");
});

function notOk(checks: readonly Report[]): Record<string, string> {
  return Object.fromEntries(
    checks.filter(({ verdict }) => verdict !== "ok").map(({ id, verdict }) => [id, verdict]),
  );
}
