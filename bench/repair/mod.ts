/**
 * How soon the agent puts back what somebody deletes: from the deletion to the kernel's own event that
 * the object is there again. For a device that is its last object, the route to the peer.
 *
 * @module
 */
import { RTPROT_FLANNEL } from "../../backends/reconcile.ts";
import {
  type KernelEvent,
  monitor,
  monitorRuleset,
  Netlink,
  type Operation,
} from "../../mod/sys/mod.ts";
import {
  BACKENDS,
  eventually,
  type GuideBackend,
  isFullMesh,
  PREFIX,
  standInForDevice,
  writeSysconfig,
} from "../../tests/e2e/guide.ts";
import { Lab, type UnderlayHost } from "../../tests/lab/lab.ts";
import { LabEtcd } from "../../tests/lab/etcd/lab_etcd.ts";
import { LabUnit } from "../../tests/lab/unit.ts";
import { NUD_PERMANENT } from "../../mod/sys/linux_constants.ts";

/** Number of hosts; each contributes one measurement per kind. */
const HOSTS = 6;

/** An agent answers slowly to who deletes again within 10 s, see mod/agent/core/repairs.ts. */
const CALM = 10_200;

/** A deletion, and the event that shows its repair. */
interface Kind {
  readonly name: string;
  readonly delete: (netlink: Netlink, device: number) => void;
  readonly isBack: (event: KernelEvent) => boolean;
}

const DEVICE: Kind = {
  name: "device",
  delete: (netlink, device) => netlink.deleteLink(device),
  isBack: (event) => event.type === "route" && event.route.protocol === RTPROT_FLANNEL,
};

const ADDRESS: Kind = {
  name: "address",
  delete: (netlink, index) => deleteFirst(netlink, "address", netlink.addresses({ index })),
  isBack: (event) => event.type === "address",
};

const NEIGHBOUR: Kind = {
  name: "neighbour",
  delete: (netlink, index) => deleteFirst(netlink, "neighbour", netlink.neighbours({ index })),
  isBack: (event) => event.type === "neighbour" && event.neighbour.state === NUD_PERMANENT,
};

const FDB_ENTRY: Kind = {
  name: "FDB entry",
  delete: (netlink, index) => {
    const entries = netlink.fdb({ index });
    deleteFirst(netlink, "fdb", entries.filter(({ destination }) => destination !== undefined));
  },
  isBack: (event) => event.type === "fdb",
};

const ROUTE: Kind = {
  name: "route",
  delete: (netlink) => deleteFirst(netlink, "route", netlink.routes({ protocol: RTPROT_FLANNEL })),
  isBack: (event) => event.type === "route" && event.route.protocol === RTPROT_FLANNEL,
};

const KINDS: Readonly<Record<GuideBackend["type"], readonly Kind[]>> = {
  "vxlan": [DEVICE, ADDRESS, ROUTE, NEIGHBOUR, FDB_ENTRY],
  "udp": [DEVICE, ADDRESS, ROUTE],
  "host-gw": [ROUTE],
};

/** Prints the table. */
export async function run(): Promise<void> {
  console.log("milliseconds from deletion to repair, over 6 hosts");
  console.log("backend  object          median     max");
  for (const backend of BACKENDS) await measureBackend(backend);
}

async function measureBackend(backend: GuideBackend): Promise<void> {
  await using lab = await Lab.start({ hosts: HOSTS });
  await using stack = new AsyncDisposableStack();
  const etcd = stack.use(await LabEtcd.start(lab.hosts[0]!));
  await etcd.set("v2", `${PREFIX}/config`, backend.config);
  for (const host of lab.hosts) {
    await writeSysconfig(host, etcd);
    stack.use(await LabUnit.start(host));
    await standInForDevice(host, backend);
  }
  await eventually("a full mesh", () => isFullMesh(lab.hosts));
  const pause = () => new Promise((resolve) => setTimeout(resolve, CALM));
  for (const kind of KINDS[backend.type]) {
    await pause();
    const times: number[] = [];
    for (const host of lab.hosts) times.push(await timeKind(host, backend, kind));
    print(backend.type, kind.name, times);
  }
  const times: number[] = [];
  await pause();
  for (const host of lab.hosts) times.push(await timeFirewall(host));
  print(backend.type, "firewall rules", times);
}

function print(backend: string, object: string, times: readonly number[]): void {
  const sorted = times.toSorted((a, b) => a - b);
  console.log(
    `${backend.padEnd(8)} ${object.padEnd(14)} ${
      sorted[sorted.length >> 1]!.toFixed(1).padStart(7)
    } ` +
      sorted.at(-1)!.toFixed(1).padStart(7),
  );
}

async function timeKind(
  host: UnderlayHost,
  backend: GuideBackend,
  kind: Kind,
): Promise<number> {
  const netns = `/proc/${host.pid}/ns/net`;
  using netlink = Netlink.open({ netns });
  const index = backend.device === undefined ? 0 : netlink.link(backend.device)!.index;
  const signal = AbortSignal.timeout(10_000);
  const seen = monitor(["link", "address", "route", "neighbour"], { netns, signal });
  const started = performance.now();
  kind.delete(netlink, index);
  for await (const events of seen) {
    const took = performance.now() - started;
    if (events.some(kind.isBack)) return took;
  }
  throw new Error(`${host.name}: ${kind.name} did not come back`);
}

/** Measures the time from the event of the deletion to the event of the repair. */
async function timeFirewall(host: UnderlayHost): Promise<number> {
  const netns = `/proc/${host.pid}/ns/net`;
  const changes = monitorRuleset({ netns, signal: AbortSignal.timeout(10_000) });
  const deletion = host.exec(["iptables", "-F", "FLANNEL-FWD"]);
  let started: number | undefined;
  for await (const group of changes) {
    const now = performance.now();
    if (started !== undefined || group.length > 1) {
      await deletion;
      return now - (started ?? now);
    }
    started = now;
  }
  throw new Error(`${host.name}: the firewall rules did not come back`);
}

function deleteFirst<K extends Operation["kind"]>(
  netlink: Netlink,
  kind: K,
  [object]: readonly Extract<Operation, { kind: K }>["object"][],
): void {
  if (object === undefined) throw new Error(`there is no ${kind} to delete`);
  const { failures: [failure] } = netlink.execute([{ op: "delete", kind, object } as Operation]);
  if (failure !== undefined) throw failure.error;
}
