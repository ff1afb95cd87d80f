/** Effects of -udp-strict-source, -udp-accept-any and -udp-workers on packets and on `flanneld status`. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { AgentStatus } from "../../../mod/agent/status/status.ts";
import { Lab, type UnderlayHost } from "../../lab/lab.ts";
import { LabEtcd } from "../../lab/etcd/lab_etcd.ts";
import { FLANNELD, LabUnit } from "../../lab/unit.ts";
import {
  BACKENDS,
  eventually,
  isFullMesh,
  overlayAddress,
  PREFIX,
  writeSysconfig,
} from "../guide.ts";

const CONFIG = BACKENDS.find(({ type }) => type === "udp")!.config;
const PACKETS = new URL("./udp_packets.ts", import.meta.url).pathname;
const ENV = { DENO_DIR: Deno.env.get("DENO_DIR") ?? `${Deno.env.get("HOME")}/.cache/deno` };

/** Packets that differ in their ports. */
const FLOWS = 64;

function packets(...args: string[]): string[] {
  const run = ["run", "-A", "--no-check", "--no-lock", "--unstable-net", PACKETS];
  return [Deno.execPath(), ...run, ...args];
}

/** An agent with the options under test, a peer of it, and a host without agent and lease. */
interface Cluster extends AsyncDisposable {
  readonly tested: UnderlayHost;
  readonly peer: UnderlayHost;
  readonly stranger: UnderlayHost;
}

async function start(options: string): Promise<Cluster> {
  await using stack = new AsyncDisposableStack();
  const lab = stack.use(await Lab.start({ hosts: 3 }));
  const [tested, peer, stranger] = lab.hosts as [UnderlayHost, UnderlayHost, UnderlayHost];
  const etcd = stack.use(await LabEtcd.start(peer));
  await etcd.set("v3", `${PREFIX}/config`, CONFIG);
  // Spoofed sources are the agent's to judge here, not the kernel's.
  for (const name of ["all", "default"]) {
    await tested.exec(["sysctl", "-qw", `net.ipv4.conf.${name}.rp_filter=0`]);
  }
  for (const [host, text] of [[tested, `-iface=eth1 ${options}`], [peer, "-iface=eth1"]] as const) {
    await writeSysconfig(host, etcd, { options: text });
    stack.use(await LabUnit.start(host));
  }
  await eventually("a full mesh", () => isFullMesh([tested, peer]));
  const owned = stack.move();
  return { tested, peer, stranger, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Returns the report of `flanneld status` on the host's network. */
async function network(host: UnderlayHost) {
  const status = JSON.parse(
    (await host.run([FLANNELD, "status", "-json"])).stdout,
  ) as AgentStatus;
  return status.networks[0]!;
}

/** Accepted senders by flag: the texts of the packets that arrive, and the counted drops. */
const CASES: readonly {
  readonly flag: string;
  readonly arrive: readonly string[];
  readonly drops: Readonly<Record<string, number>>;
}[] = [
  {
    flag: "",
    arrive: ["honest", "outside"],
    drops: { receiveSpoofed: 1, receiveUnknownSender: 1 },
  },
  {
    flag: "-udp-strict-source",
    arrive: ["honest"],
    drops: { receiveSpoofed: 2, receiveUnknownSender: 1 },
  },
  { flag: "-udp-accept-any", arrive: ["honest", "outside", "spoofed", "stranger"], drops: {} },
];

for (const path of ["user", "auto"]) {
  for (const { flag, arrive, drops } of CASES) {
    const name = `-udp-datapath=${path}${flag && ` ${flag}`}`;
    Deno.test(`an agent with ${name} takes ${arrive.join(", ")} packets, and no others`, async () => {
      await using cluster = await start(name);
      const { tested, peer, stranger } = cluster;
      const target = await overlayAddress(tested);
      await using receiver = await tested.spawn(packets("receive", target), { env: ENV });
      await receiver.waitFor(/listening/);
      const honest = await overlayAddress(peer);
      const way = path === "auto" ? "kernel" : "user (this host has no kernel path)";
      await eventually(way, async () => (await network(tested)).peers.list[0]?.path === way);
      const before = (await network(tested)).traffic?.drops ?? {};
      const sendings: [UnderlayHost, source: string, text: string][] = [
        [peer, "192.168.77.7", "outside"],
        [peer, "10.20.255.7", "spoofed"],
        [stranger, "10.20.255.8", "stranger"],
        // Last, so that the others are through or gone when it is there.
        [peer, honest, "honest"],
      ];
      for (const [host, source, text] of sendings) {
        await host.exec(packets("send", tested.address, source, target, text), { env: ENV });
      }
      await receiver.waitFor(/honest/);
      const expected = sendings.filter(([, , text]) => arrive.includes(text));
      assertEquals(
        receiver.output.trim().split("\n").slice(1),
        expected.map(([, source, text]) => `${source} ${text}`),
      );

      const { traffic } = await network(tested);
      const counted = Object.entries(traffic!.drops)
        .map(([reason, count]) => [reason, count - (before[reason] ?? 0)] as const)
        // The kernel's own IPv6 on the device comes when it likes.
        .filter(([reason, count]) => count > 0 && reason !== "sendNotIPv4");
      assertEquals(Object.fromEntries(counted), drops);
      const table = (await tested.run([FLANNELD, "status"])).stdout;
      assertEquals(table.includes("from a host without a lease"), "receiveUnknownSender" in drops);
    });
  }
}

Deno.test("an agent refuses -udp-accept-any beside -udp-strict-source in one line, with 2", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const [host] = lab.hosts;
  const pair = ["-udp-strict-source", "-udp-accept-any"];
  const { code, stderr } = await host!.run([FLANNELD, ...pair]);
  assertEquals(code, 2);
  assertStringIncludes(stderr, 'invalid value "true" for flag -udp-strict-source: -udp-accept-any');
});

Deno.test("an agent with -udp-workers=2 carries packets in both", async () => {
  await using cluster = await start("-udp-datapath=user -udp-workers=2");
  const { tested, peer } = cluster;
  const [link] = JSON.parse(
    await tested.exec(["ip", "-j", "-d", "link", "show", "flannel0"]),
  );
  assertEquals(link.linkinfo.info_data.multi_queue, true);
  const sockets = await tested.exec(["ss", "-Hlun", "sport = :8285"]);
  assertEquals(sockets.trim().split("\n").length, 2, sockets);

  const addresses = [await overlayAddress(tested), await overlayAddress(peer)] as const;
  const before = await network(tested);
  // Datagrams are spread over the sockets by their ports, and packets over the queues by their ports.
  const flows = [
    "flows",
    tested.address,
    addresses[1].replace(/0$/, ""),
    addresses[0],
    String(FLOWS),
  ];
  await arriving(tested, addresses[0], "flow", () => peer.exec(packets(...flows), { env: ENV }));
  const plain = ["plain", addresses[1], String(FLOWS)];
  await arriving(peer, addresses[1], "plain", () => tested.exec(packets(...plain), { env: ENV }));

  const { traffic } = await network(tested);
  assert(traffic!.receivedPackets - before.traffic!.receivedPackets >= FLOWS);
  assert(traffic!.sentPackets - before.traffic!.sentPackets >= FLOWS);
  const queues = await tested.exec(["tc", "-s", "qdisc", "show", "dev", "flannel0"]);
  const sent = [...queues.matchAll(/parent :[12] .*\n Sent \d+ bytes (\d+) pkt/g)].map(([, n]) =>
    Number(n)
  );
  assertEquals(sent.length, 2, queues);
  // Halves of 64 are below an eighth once in ten thousand millions of times.
  for (const packets of sent) assert(packets > FLOWS / 8, queues);
});

/** Waits until all flows have come to a host's address. */
async function arriving(
  host: UnderlayHost,
  address: string,
  word: string,
  send: () => Promise<unknown>,
): Promise<void> {
  await using receiver = await host.spawn(packets("receive", address), { env: ENV });
  await receiver.waitFor(/listening/);
  await send();
  const came = () => new Set(receiver.output.match(new RegExp(`${word} \\d+\\n`, "g"))).size;
  await eventually(`${FLOWS} packets`, () => Promise.resolve(came() === FLOWS));
}
