import { assert, assertEquals } from "@std/assert";
import { GuideCluster } from "../lab/guide_cluster.ts";
import type { UnderlayHost } from "../lab/lab.ts";
import { lostReplies } from "../lab/lost_replies.ts";
import type { LabUnit } from "../lab/unit.ts";
import {
  BACKENDS,
  eventually,
  type GuideBackend,
  overlayAddress,
  PREFIX,
  standInForDevice,
} from "./guide.ts";

/**
 * Milliseconds after which an object of flanneld counts as lost: long after a repair by an event or an inspection
 * (`deno task bench repair`), and long before the agent's periodic check.
 */
const LIMIT = 5_000;

/** Between two pings, in milliseconds. */
const INTERVAL = 20;

/** One way to do damage. */
interface Damage {
  readonly object: string;
  /** For a shell; `PEER` is another host's subnet, `BASE` its first address, `MAC` its VTEP's. */
  readonly command: string;
  /** The agent's log line; that of the firewall appears once a minute. */
  readonly report?: RegExp | string;
}

const FIREWALL: readonly Damage[] = [
  { object: "firewall rules", command: "iptables -F FLANNEL-FWD" },
  { object: "jump to the firewall rules", command: "iptables -F FORWARD" },
  { object: "all firewall rules", command: "nft flush ruleset" },
];

/** Returns damage to any device, without its removal. */
function damageToDevice(device: string): readonly Damage[] {
  return [
    {
      object: "device's state",
      command: `ip link set ${device} down`,
      report: `Repairing: device ${device} set down`,
    },
    {
      object: "device's MTU",
      command: `ip link set ${device} mtu 1200`,
      report: `Repairing: MTU of ${device} altered`,
    },
    {
      object: "address",
      command: `ip addr flush dev ${device}`,
      report: `Repairing: address of ${device} removed`,
    },
  ];
}

/** Returns damage to any route. */
function damageToRoute(destination: string): readonly Damage[] {
  // An agent names the subnet that `PEER` stands for.
  const named = destination === "PEER" ? "\\S+" : RegExp.escape(destination);
  return [
    {
      object: "route",
      command: `ip route del ${destination}`,
      report: new RegExp(`Repairing: route to ${named} removed`),
    },
    {
      object: "route's gateway",
      command: `ip route replace ${destination} via 172.28.128.1 proto 102`,
      report: new RegExp(`Repairing: route to ${named} altered`),
    },
  ];
}

/** Of a route to one peer; udp has none such. */
const KIND_OF_ROUTE: Damage = {
  object: "route's kind",
  command: "ip route replace blackhole PEER proto 102",
  report: /Repairing: route to \S+ altered/,
};

/** The columns of the table, by backend: each is broken under a running ping. */
const TABLE: Readonly<Record<GuideBackend["type"], readonly Damage[]>> = {
  "vxlan": [
    {
      object: "device",
      command: "ip link del flannel.1",
      report: "Repairing: device flannel.1 removed",
    },
    ...damageToDevice("flannel.1"),
    {
      object: "device's MAC",
      command: "ip link set flannel.1 address 0a:00:00:00:00:55",
      report: "Repairing: MAC of flannel.1 altered",
    },
    ...damageToRoute("PEER"),
    KIND_OF_ROUTE,
    {
      object: "neighbour",
      command: "ip neigh del BASE dev flannel.1",
      report: /Repairing: neighbour \S+ removed or altered/,
    },
    {
      object: "FDB entry",
      command: "bridge fdb del MAC dev flannel.1",
      report: /Repairing: FDB entry \S+ removed/,
    },
    {
      object: "FDB entry's remote",
      command: "bridge fdb replace MAC dev flannel.1 dst 172.28.128.77",
      report: /Repairing: FDB entry \S+ altered/,
    },
    ...FIREWALL,
  ],
  "udp": [
    {
      object: "device",
      command: "ip link del flannel0",
      report: /Repairing: device flannel0 (removed|set down)/,
    },
    ...damageToDevice("flannel0"),
    ...damageToRoute("10.20.0.0/16"),
    ...FIREWALL,
  ],
  "host-gw": [
    ...damageToRoute("PEER"),
    KIND_OF_ROUTE,
    {
      object: "all routes",
      command: "ip route flush proto 102",
      report: /Repairing: route to \S+ removed/,
    },
    ...FIREWALL,
  ],
};

/** Returns flanneld's objects on a host, without numbers that differ in a new device. */
async function stateOf(host: UnderlayHost, { device }: GuideBackend): Promise<string> {
  const ofDevice = [
    `ip -o link show DEV | sed 's/^[0-9]*: //'`,
    "ip -4 -o addr show dev DEV | awk '{print $4}'",
    "ip neigh show nud permanent dev DEV | sort",
    "bridge fdb show dev DEV | grep dst | sort",
  ].map((line) => device === undefined ? "" : line.replaceAll("DEV", device));
  const everywhere = ["ip -4 route show proto 102", "iptables-save | grep -E -- '-A .*FLANNEL'"];
  const { stdout } = await host.run(["sh", "-c", [...ofDevice, ...everywhere].join("\n")]);
  return stdout;
}

async function started(
  backend: GuideBackend,
  options: string,
  test: (cluster: GuideCluster, units: readonly LabUnit[]) => Promise<void>,
): Promise<void> {
  const { config } = backend;
  await using cluster = await GuideCluster.start({ hosts: 2, config, options });
  const units = await cluster.startAgents();
  for (const host of cluster.hosts) await standInForDevice(host, backend);
  await cluster.untilFullMesh();
  await test(cluster, units);
}

for (const backend of BACKENDS) {
  Deno.test(`flanneld by ${backend.type} repairs any damage as it happens`, async (t) => {
    await started(backend, "-iface=eth1 -ip-masq", async (cluster, units) => {
      const { etcd } = cluster;
      const [peer, host] = cluster.hosts as [UnderlayHost, UnderlayHost];
      const { process } = units[1]!;
      const base = await overlayAddress(peer);
      const ownBase = await overlayAddress(host);
      const values = async () =>
        await Promise.all(
          (await etcd.keys("v2", `${PREFIX}/subnets`)).map((key) => etcd.get("v2", key)),
        );
      const before = await values();
      const whole = await stateOf(host, backend);
      const mac = backend.type === "vxlan"
        ? JSON.parse(await peer.exec(["ip", "-j", "link", "show", backend.device!]))[0].address
        : "";
      for (const { object, command, report } of TABLE[backend.type]) {
        const line = command.replaceAll("PEER", `${base}/24`).replaceAll("BASE", base)
          .replaceAll("MAC", mac);
        await t.step(`${object}: ${line}`, async () => {
          // From the other side: a ping that is refused a route gives up.
          const lost = await lostReplies(peer, ownBase, async () => {
            await host.exec(["sh", "-c", line]);
            await eventually(
              `all of it again; it was\n${whole}`,
              async () => await stateOf(host, backend) === whole,
              LIMIT,
            );
          });
          assert(lost * INTERVAL < LIMIT, `${lost} replies lost`);
          // Logged once a minute, so perhaps for the damage before.
          if (report !== undefined) await process.waitFor(report);
        });
      }
      // The other need not have noticed: leases, subnets and VTEPs are what they were.
      assertEquals(await values(), before);
      assert(!units[0]!.process.output.includes("Repairing"), units[0]!.process.output);
      const { output } = process;
      assertEquals(output.match(/Firewall rules were missing and have been put back/g)?.length, 1);
    });
  });

  Deno.test(`flanneld by ${backend.type} repairs with growing delays while objects are deleted in a loop, and reports that once`, async () => {
    await started(backend, "-iface=eth1 -v=2", async (cluster, units) => {
      const [peer, host] = cluster.hosts as [UnderlayHost, UnderlayHost];
      const { process } = units[1]!;
      const route = backend.type === "udp" ? "10.20.0.0/16" : `${await overlayAddress(peer)}/24`;
      const whole = await stateOf(host, backend);
      const mark = process.mark();
      await host.exec([
        "sh",
        "-c",
        `end=$(($(date +%s) + 6)); while [ $(date +%s) -lt $end ]; do
           ip route del ${route} proto 102 2>/dev/null; iptables -F FLANNEL-FWD; sleep 0.01
         done`,
      ]);
      await eventually("all again", async () => await stateOf(host, backend) === whole, LIMIT);
      const output = process.output.slice(mark);
      // After 20, 20, 40, ... ms, then each 800 ms.
      const repairs = output.match(/sync: \d+ of \d+ kernel objects/g)?.length ?? 0;
      assert(repairs >= 5 && repairs <= 16, `${repairs} repairs in 6 s`);
      for (const line of [`Repairing: route to ${route} removed`, "Firewall rules were missing"]) {
        assertEquals(output.split(line).length - 1, 1, `${line}\n${output}`);
      }
    });
  });
}
