import { assertEquals, assertMatch } from "@std/assert";
import { Lab, type UnderlayHost } from "../../lab/lab.ts";
import { LabEtcd } from "../../lab/etcd/lab_etcd.ts";
import { FLANNELD, LabUnit } from "../../lab/unit.ts";
import { addContainer, BACKENDS, eventually, PREFIX, subnetOf, writeSysconfig } from "../guide.ts";

/** A question, and the expected answer: kind, exit code, and objects in order. */
interface Question {
  /** `P`: the first three octets of the peer's subnet; `S`: of our own. */
  readonly address: string;
  readonly kind: string;
  readonly code: number;
  readonly says: readonly RegExp[];
  /** One of the lines after them. */
  readonly reaches?: RegExp;
}

const COMMON: readonly Question[] = [
  {
    address: "S.1",
    ...{ kind: "own", code: 0 },
    says: [/^S\.1 is an address of this host, on docker0$/],
    reaches:
      /^inbound from P\.2 to S\.1, ICMP echo: gets to this host, and is answered[^]*^answer to S\.1, ICMP echo: 0\.\d\d ms$/,
  },
  {
    address: "S.2",
    ...{ kind: "own-subnet", code: 1 },
    says: [
      /^S\.2 is a container's address on this host; no answer/,
      /^lease S\.0\/24, this host's own$/,
      /^route S\.0\/24 dev docker0/,
      /^neighbour none on docker0/,
    ],
  },
  {
    address: "8.8.8.8",
    ...{ kind: "outside", code: 1 },
    says: [
      /^8\.8\.8\.8 is outside of 10\.20\.0\.0\/16.*; no answer within 2 s$/,
      /^route 0\.0\.0\.0\/0 via 10\.0\.2\.2 dev eth0/,
      /^forwarding on, for /,
      /^firewall accepted/,
      /^masquerade the source becomes the address/,
    ],
  },
  {
    address: "10.20.60.9",
    ...{ kind: "refused", code: 1 },
    says: [
      /^nothing is carried there: the lease of 10\.20\.60\.1, 10\.20\.60\.0\/24 contains its own public IP/,
      /^lease .* ! it contains its own public IP/,
    ],
  },
];

/** A lease that every backend refuses: the host would be inside its own subnet. */
function badLease(type: string): string {
  const backend = {
    vxlan: { BackendType: "vxlan", BackendData: { VtepMAC: "0a:00:00:00:00:01" } },
    "host-gw": { BackendType: "host-gw" },
  }[type];
  return JSON.stringify({ PublicIP: "10.20.60.1", ...backend });
}

const OF_BACKEND: Readonly<Record<string, readonly Question[]>> = {
  vxlan: [
    {
      address: "P.2",
      ...{ kind: "peer", code: 0 },
      says: [
        /^P\.2 is in the subnet of host101 \(172\.28\.128\.101\), P\.0\/24$/,
        /^lease host101 \(172\.28\.128\.101\), P\.0\/24, vxlan$/,
        /^route P\.0\/24 via P\.0 dev flannel\.1 proto 102 onlink$/,
        /^device flannel\.1 mtu 1450 up$/,
        /^neighbour P\.0 lladdr [0-9a-f:]{17} dev flannel\.1$/,
        /^fdb [0-9a-f:]{17} dst 172\.28\.128\.101 dev flannel\.1$/,
        /^encapsulation vxlan, from 172\.28\.128\.100 to 172\.28\.128\.101, UDP port 8472, MTU 1450$/,
        /^underlay 172\.28\.128\.101 dev eth1 src 172\.28\.128\.100 mtu 1500$/,
        /^forwarding on, for flannel\.1, docker0, eth1 too$/,
        /^firewall accepted in FORWARD by our rules$/,
        /^masquerade the source stays the container's$/,
      ],
      reaches: /^answer to P\.2, ICMP echo: \d+\.\d\d ms$/,
    },
    {
      address: "10.20.77.7",
      ...{ kind: "unassigned", code: 1 },
      says: [
        /no host holds a subnet with it: what is sent there leaves by eth0, where nobody knows/,
      ],
    },
  ],
  udp: [
    {
      address: "P.2",
      ...{ kind: "peer", code: 0 },
      says: [
        /^P\.2 is in the subnet of host101/,
        /^lease .*, udp$/,
        /^route 10\.20\.0\.0\/16 dev flannel0 proto 102$/,
        /^device flannel0 mtu 1472 up$/,
        /^path in (user space, as set by -udp-datapath=user|the kernel, by eBPF)$/,
        /^encapsulation udp, .*, UDP port 8285, MTU 1472$/,
        /^underlay 172\.28\.128\.101 dev eth1/,
      ],
    },
    {
      address: "10.20.77.7",
      ...{ kind: "unassigned", code: 1 },
      says: [/no host holds a subnet with it: flannel0 drops what is sent there$/],
    },
  ],
  "host-gw": [
    {
      address: "P.2",
      ...{ kind: "peer", code: 0 },
      says: [
        /^P\.2 is in the subnet of host101/,
        /^lease .*, host-gw$/,
        /^route P\.0\/24 via 172\.28\.128\.101 dev eth1 proto 102$/,
        /^underlay 172\.28\.128\.101 dev eth1/,
        /^forwarding on, for docker0, eth1 too$/,
        /^firewall accepted/,
      ],
    },
  ],
};

/** Sabotage between the hosts, the question meanwhile, and its answer. */
const UNANSWERED: readonly {
  readonly there?: readonly [sabotage: string, undo: string];
  /** Run on the host that all cables end in. */
  readonly hub?: readonly [sabotage: string, undo: string];
  readonly asked?: readonly string[];
  readonly says: RegExp;
}[] = [
  {
    there: ["iptables -I INPUT -p udp --dport 8472 -j DROP", "iptables -D INPUT 1"],
    says:
      /no answer: it answers at its public address; UDP port 8472 is dropped on the way, there or back\n +> flanneld doctor {3}# here and on 172\.28\.128\.101$/,
  },
  {
    there: ["iptables -I INPUT -p udp --dport 8472 -j DROP", "iptables -D INPUT 1"],
    asked: ["P.2", "-proto=udp", "-port=53"],
    says: /answer +to P\.2, UDP port 53: none\n +! no answer: it answers at its public address/,
  },
  {
    there: ["sysctl -qw net.ipv4.ip_forward=0", "sysctl -qw net.ipv4.ip_forward=1"],
    says:
      /no answer, but its host host101 \S+ answers: no such container, net\.ipv4\.ip_forward=0, or a firewall rule there\n +> flanneld explain P\.2 {3}# on 172\.28\.128\.101$/,
  },
  { asked: ["P.9"], says: /! no answer, but its host host101 .* no such container/ },
  {
    asked: ["P.2", "-port=81"],
    says: /answer +to P\.2, TCP port 81: refused\n +! refused: no process listens on the port/,
  },
  { asked: ["P.2", "-proto=udp", "-port=53"], says: /! refused: no process listens on the port$/ },
  {
    asked: ["S.1", "-port=81"],
    says: /TCP port 81: gets to this host[;\n][^]*! refused: no process/,
  },
  {
    hub: ["ip link set host101-eth1 mtu 1400", "ip link set host101-eth1 mtu 1500"],
    says:
      /! no answer to packets of more than 1354 bytes; the network's MTU is 1450\n +> flanneld doctor {3}# check path-mtu$/,
  },
  {
    hub: ["ip link set host101-eth1 down", "ip link set host101-eth1 up"],
    says: /! no answer, and none from its host at 172\.28\.128\.101 either: it is down, or cut off/,
  },
];

/** Damage to objects of steps, and the steps' texts then; `VTEP` is the MAC of the peer's device. */
const DAMAGES: Readonly<
  Record<string, readonly (readonly [command: string, ...says: RegExp[]])[]>
> = {
  vxlan: [
    [
      "iptables -I FORWARD -o flannel.1 -j DROP",
      /^outbound .* ! iptables rule 1 of chain FORWARD, table filter: -A FORWARD -o flannel\.1 -j DROP drops it$/,
    ],
    [
      "iptables -D FORWARD 1; iptables -t raw -I PREROUTING -i flannel.1 -p icmp -j DROP",
      /^inbound .* ! iptables rule 1 of chain PREROUTING, table raw: .* drops it$/,
    ],
    [
      "iptables -t raw -D PREROUTING 1; ip route replace P.0/24 via 172.28.128.101 dev eth0 onlink proto 102",
      /! the route leads to eth0, and not to flannel\.1/,
    ],
    [
      "ip route del P.0/24 dev eth0; ip link set flannel.1 mtu 1400; ip neighbour del P.0 dev flannel.1; " +
      "bridge fdb del VTEP dev flannel.1 dst 172.28.128.101; ip route add 172.28.128.101/32 via 10.0.2.2 dev eth0; " +
      "iptables -F FLANNEL-FWD",
      /! the MTU of flannel\.1 is 1400, and not 1450/,
      /^neighbour none ! the MAC of next hop P\.0 is not known/,
      /^fdb none ! it is not known behind which host/,
      /! host 172\.28\.128\.101 is reached by eth0, and not by eth1/,
      /^firewall not as it should be ! \+ firewall .*FLANNEL-FWD/,
    ],
  ],
  udp: [["ip link set flannel0 down", /! flannel0 is down/]],
  "host-gw": [
    [
      "ip route replace P.0/24 via 172.28.128.77 dev eth1 proto 102",
      /! the route does not lead to host 172\.28\.128\.101/,
    ],
  ],
};

interface Answer {
  readonly complete: boolean;
  readonly kind: string;
  readonly verdict: string;
  readonly steps: readonly { object: string; text: string; wrong?: string }[];
}

async function explain(host: UnderlayHost, address: string) {
  const { code, stdout, stderr } = await host.run([FLANNELD, "explain", address, "-json"]);
  assertEquals(stderr, "");
  const answer = JSON.parse(stdout) as Answer;
  const lines = [
    answer.verdict,
    ...answer.steps.map(({ object, text, wrong }) =>
      `${object} ${text}${wrong === undefined ? "" : ` ! ${wrong}`}`
    ),
  ];
  return { code, answer, lines };
}

// Ports, limits, sysctls, the choice of the interface and usage errors do not depend on the backend: asked with vxlan alone.
for (const { type, config } of BACKENDS) {
  Deno.test(`flanneld explain shows the path of packets with ${type}, and damage on the way`, async () => {
    await using lab = await Lab.start({ hosts: 2 });
    await using stack = new AsyncDisposableStack();
    const [here, there] = lab.hosts as [UnderlayHost, UnderlayHost];
    const etcd = stack.use(await LabEtcd.start(here));
    await etcd.set("v2", `${PREFIX}/config`, config);
    await etcd.set("v2", `${PREFIX}/subnets/10.20.60.0-24`, badLease(type));
    const units: LabUnit[] = [];
    for (const [i, host] of lab.hosts.entries()) {
      await writeSysconfig(host, etcd, { options: "-iface=eth1 -ip-masq -firewall=iptables" });
      // The subnet that an earlier agent had: a random one may be one of those that are asked for below.
      const former = `FLANNEL_NETWORK=10.20.0.0/16\nFLANNEL_SUBNET=10.20.${21 + i}.1/24\n`;
      await host.writeTextFile("/run/flannel/subnet.env", former + "FLANNEL_MTU=1450\n");
      units.push(stack.use(await LabUnit.start(host)));
    }
    const three = async (host: UnderlayHost) => (await subnetOf(host)).replace(/\.0\/24$/, "");
    const words: Record<string, string> = { S: await three(here), P: await three(there) };
    const fill = (text: string) =>
      text.replaceAll(/\b(S|P)(?=\\?\.\d)|\bVTEP\b/g, (word) => words[word] ?? word);
    await here.exec([
      "sh",
      "-ec",
      fill(
        "sysctl -qw net.ipv4.ip_forward=1; ip link add docker0 mtu 1400 type bridge; ip address add S.1/24 dev docker0; ip link set docker0 up; ip neighbour add 10.0.2.2 lladdr 02:00:00:00:02:02 dev eth0 nud permanent",
      ),
    ]);
    assertEquals(await addContainer(there), fill("P.2"));
    await eventually("the peer", async () => (await explain(here, fill("P.2"))).code === 0);
    // The agent refuses sources outside the network some seconds after all peers masquerade.
    await eventually("the peers' features in force", async () => {
      const { networks: [network] } = JSON.parse(
        (await here.run([FLANNELD, "status", "-json"])).stdout,
      );
      const { reason = "" } = network.backend.outsideSources ?? {};
      return !/no peer|not advertise|about to change/.test(reason);
    });

    for (const { address, kind, code, says, reaches } of [...OF_BACKEND[type]!, ...COMMON]) {
      const explained = await explain(here, fill(address));
      const text = explained.lines.join("\n");
      assertEquals([explained.answer.kind, explained.code], [kind, code], text);
      assertEquals(explained.answer.complete, code === 0);
      if (reaches !== undefined) assertMatch(text, new RegExp(fill(reaches.source), "m"));
      says.forEach((line, i) =>
        assertMatch(explained.lines[i]!, new RegExp(fill(line.source)), text)
      );
    }

    if (type === "vxlan") {
      stack.use(
        await there.spawn([
          ..."ip netns exec container busybox nc -ll -p 80 -e /bin/true".split(" "),
        ]),
      );
      // A rule for one port is met by a probe of that port alone.
      await here.exec(["iptables", "-I", "FORWARD", "-p", "tcp", "--dport", "443", "-j", "REJECT"]);
      for (const [port, code] of [["443", 1], ["80", 0]] as const) {
        const asked = await here.run([FLANNELD, "explain", fill("P.2"), "--port", port]);
        assertEquals([asked.code, asked.stderr], [code, ""], asked.stdout);
        assertMatch(asked.stdout, new RegExp(`^ {2}outbound .* to \\S+, TCP port ${port}: `, "m"));
        if (code === 1) {
          assertMatch(asked.stdout, /! iptables rule 1 of chain FORWARD, .*--dport 443 -j REJECT/);
          assertMatch(
            asked.stdout,
            /> iptables -I FORWARD 1 -i docker0 -s \S+ -d 10\.20\.0\.0\/16 -j ACCEPT/,
          );
        }
      }
      await here.exec(["iptables", "-D", "FORWARD", "1"]);

      for (const { there: sabotage, hub, asked = ["P.2"], says } of UNANSWERED) {
        const run = async (at: 0 | 1) => {
          if (sabotage !== undefined) await there.exec(["sh", "-ec", sabotage[at]]);
          if (hub !== undefined) await lab.switch.exec(["sh", "-ec", hub[at]]);
        };
        await run(0);
        const { code, stdout } = await here.run([FLANNELD, "explain", ...asked.map(fill)]);
        await run(1);
        assertEquals(code, 1, stdout);
        assertMatch(stdout, new RegExp(fill(says.source), "m"));
      }
      await eventually("the peer", async () => (await explain(here, fill("P.2"))).code === 0);

      // When no probe can be traced, explain reads the rules, and the answer states that.
      for (
        const [limits, reason] of [
          [["--bounding-set=-bpf,-sys_admin"], /BPF_\w+ .*EPERM/],
          [["--bounding-set=-net_admin"], /EPERM/],
        ] as const
      ) {
        const asked = await here.run(["setpriv", ...limits, FLANNELD, "explain", fill("P.2")]);
        assertMatch(asked.stdout, /^ {2}trace +no probe could be traced \(/m, asked.stderr);
        assertMatch(asked.stdout, reason);
        assertEquals(/outbound|inbound/.test(asked.stdout), false);
      }
    }

    // Nor does the doctor find anything wrong with this backend.
    const doctor = await here.run([FLANNELD, "doctor", "-json"]);
    const { checks } = JSON.parse(doctor.stdout) as { checks: { id: string; verdict: string }[] };
    assertEquals(checks.filter(({ verdict }) => verdict !== "ok"), [], doctor.stdout);
    assertEquals(doctor.code, 0);

    const { steps } = (await explain(here, fill("P.2"))).answer;
    words.VTEP = steps.find(({ object }) => object === "fdb")?.text.split(" ")[0] ?? "";
    units[0]!.process.signal("SIGSTOP");
    try {
      for (const [command, ...says] of DAMAGES[type]!) {
        await here.exec(["sh", "-ec", fill(command)]);
        const { code, answer, lines } = await explain(here, fill("P.2"));
        assertEquals([code, answer.complete], [1, false], command);
        assertMatch(answer.verdict, /; packets do not get there: /);
        for (const { source } of says) {
          const found = lines.some((line) => new RegExp(fill(source)).test(line));
          assertEquals(found, true, `${source}:\n${lines.join("\n")}`);
        }
      }
    } finally {
      units[0]!.process.signal("SIGCONT");
    }
    if (type !== "vxlan") return;
    // The way out of the network needs the rules too, which the agent puts back when it sees it.
    await eventually("the repair", async () => {
      const { steps } = (await explain(here, "8.8.8.8")).answer;
      return steps.every(({ object, wrong }) => wrong === undefined || object === "answer");
    });
    for (
      const [parameter, says] of [
        ["net.ipv4.ip_forward", /^forwarding off ! net\.ipv4\.ip_forward is 0/],
        ["net.ipv4.conf.docker0.forwarding", /^forwarding .* ! .*conf\/docker0\/forwarding is 0/],
      ] as const
    ) {
      await here.exec(["sysctl", "-qw", `${parameter}=0`]);
      for (const address of [fill("P.2"), "8.8.8.8"]) {
        const { code, answer, lines } = await explain(here, address);
        assertEquals([code, answer.complete], [1, false], parameter);
        assertEquals(lines.some((line) => says.test(line)), true, lines.join("\n"));
      }
      await here.exec(["sysctl", "-qw", `${parameter}=1`]);
    }
    // Without the agent's -iface, on a host whose default route is another interface's.
    await here.writeTextFile(
      "/etc/sysconfig/bare",
      `FLANNEL_ETCD_ENDPOINTS="${etcd.endpoint}"\nFLANNEL_ETCD_PREFIX="${PREFIX}"\n`,
    );
    const elsewhere =
      /this host's lease \S+ belongs to eth1 \(172\.28\.128\.100\), but this command chose eth0 .* -iface=eth1/;
    const bare = "-sysconfig=/etc/sysconfig/bare";
    const asked = await here.run([FLANNELD, "explain", bare, fill("P.2")]);
    assertEquals(asked.code, 1);
    assertMatch(asked.stdout, elsewhere);
    const planned = await here.run([FLANNELD, "plan", bare]);
    assertEquals(planned.code, 0);
    assertMatch(planned.stderr, elsewhere);
    assertEquals(planned.stderr.includes("leased to another host"), false, planned.stderr);

    const text = await here.run([FLANNELD, "explain", "-iface=eth1", "8.8.8.8"]);
    assertEquals([text.code, text.stderr], [1, ""]);
    assertMatch(
      text.stdout,
      /^8\.8\.8\.8 is outside of .*\n {2}route +0\.0\.0\.0\/0 via 10\.0\.2\.2/,
    );
    for (
      const [words, message] of [
        [["10.20.1"], /"10\.20\.1" is not an IPv4 address\nWrite for example/],
        [[], /needs ADDRESS/],
        [
          ["10.20.1.2", "-port=0"],
          /invalid value "0" for flag -port: expected a whole number from/,
        ],
        [
          ["10.20.1.2", "-proto=sctp"],
          /invalid value "sctp" for flag -proto: expected icmp or tcp or udp/,
        ],
        [["10.20.1.2", "-proto=udp"], /-proto udp needs -port/],
        [["10.20.1.2", "-proto=icmp", "-port=80"], /ICMP has no ports/],
        [["10.20.1.2", "10.20.1.3"], /unexpected argument "10\.20\.1\.3"/],
      ] as const
    ) {
      const { code, stderr } = await here.run([FLANNELD, "explain", ...words]);
      assertEquals(code, 2);
      assertMatch(stderr, message);
    }
  });
}
