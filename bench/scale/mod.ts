/**
 * How long the agent takes, and what it costs, when the cluster is large: a real etcd is filled
 * with leases, then `dist/flanneld` is started in a lab host and measured from outside.
 *
 * @module
 */
import { LabUnit } from "../../tests/lab/unit.ts";
import { Lab, type UnderlayHost } from "../../tests/lab/lab.ts";
import { type EtcdApi, LabEtcd } from "../../tests/lab/etcd/lab_etcd.ts";
import { monitor } from "../../mod/sys/mod.ts";
import { PREFIX } from "./etcd_http.ts";

/** Neither the lab's hosts nor its gateway are in it, and 65,536 subnets are. */
const CONFIG = '{"Network":"100.64.0.0/10","SubnetLen":26,"SubnetMin":"100.64.1.0",' +
  '"Backend":{"Type":"vxlan"}}';
const LEASES = [3, 5_000, 60_000];
/** How often a new lease is timed on its way into the kernel. */
const PUTS = 20;

/** Measurements of one start. Times in milliseconds from exec. */
interface Measured {
  readonly leaseMs: number;
  readonly readyMs: number;
  readonly objects: number;
  readonly callsPer100: number;
  readonly rssMiB: number;
  readonly updateMs: number;
}

/** Prints the table. */
export async function run(): Promise<void> {
  console.log(
    "times from exec; three kernel objects a lease; update = from etcd's answer to a put",
  );
  console.log(
    "api  leases  own lease ms  all objects ms  objects  calls/100  RSS MiB  update ms (median)",
  );
  for (const api of ["v2", "v3"] as EtcdApi[]) {
    for (const leases of LEASES) {
      const f = await measure(api, leases);
      console.log(
        [
          api.padEnd(3),
          String(leases).padStart(7),
          f.leaseMs.toFixed(0).padStart(13),
          f.readyMs.toFixed(0).padStart(15),
          String(f.objects).padStart(8),
          f.callsPer100.toFixed(2).padStart(10),
          f.rssMiB.toFixed(0).padStart(8),
          f.updateMs.toFixed(1).padStart(10),
        ].join(" "),
      );
    }
  }
}

async function measure(api: EtcdApi, leases: number): Promise<Measured> {
  await using lab = await Lab.start({ hosts: 1 });
  const host = lab.hosts[0]!;
  await using etcd = await LabEtcd.start(host);
  await etcd.set(api, `${PREFIX}/config`, CONFIG);
  await script(host, "fill.ts", [etcd.endpoint, api, String(leases)]);
  await host.writeTextFile(
    "/etc/sysconfig/flanneld",
    `FLANNEL_ETCD_ENDPOINTS="${etcd.endpoint}"\nFLANNEL_ETCD_PREFIX="${PREFIX}"\n` +
      `FLANNEL_OPTIONS="-iface=eth1 -v=2"\n`,
  );
  const started = performance.now();
  await using unit = await LabUnit.start(host, { wait: false });
  await unit.process.waitFor(/Lease acquired/, { timeout: 60_000 });
  const leaseMs = performance.now() - started;
  // READY=1 comes after the last object: waiting for the line of the batch is enough.
  const [, applied, , calls] = await unit.process.waitFor(
    /sync: (\d+) of (\d+) kernel objects in \S+ ms, (\d+) system calls/,
    { timeout: 60_000 },
  );
  const readyMs = performance.now() - started;
  await unit.ready();
  const updateMs = await timeUpdates(host, etcd, api);
  // At rest: what the start has left behind is collected when V8 is idle.
  await new Promise((resolve) => setTimeout(resolve, 10_000));
  const status = await Deno.readTextFile(`/proc/${unit.process.pid}/status`);
  return {
    leaseMs,
    readyMs,
    objects: Number(applied),
    callsPer100: Number(calls) / Number(applied) * 100,
    rssMiB: Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1024,
    updateMs,
  };
}

/** Runs one of the scripts beside this file inside a host. */
function script(host: UnderlayHost, name: string, args: readonly string[]): Promise<string> {
  const path = new URL(name, import.meta.url).pathname;
  return host.exec([Deno.execPath(), "run", "-A", "--no-check", path, ...args], {
    timeout: 300_000,
    env: { NO_COLOR: "1" },
  });
}

/**
 * Median of the times from etcd's answer to a put to the kernel's own event of the new route, in
 * milliseconds. Both clocks are this machine's.
 */
async function timeUpdates(host: UnderlayHost, etcd: LabEtcd, api: EtcdApi): Promise<number> {
  const arrived = new Map<string, number>();
  const abort = new AbortController();
  const listening = (async () => {
    const namespace = { netns: `/proc/${host.pid}/ns/net`, signal: abort.signal };
    for await (const events of monitor(["route"], namespace)) {
      const now = performance.timeOrigin + performance.now();
      for (const event of events) {
        if (event.type === "route") arrived.set(String(event.route.destination), now);
      }
    }
  })();
  const answers = await script(host, "put.ts", [etcd.endpoint, api, String(PUTS)]);
  abort.abort();
  await listening;
  const times = answers.trim().split("\n").map((line) => {
    const [octet, answered] = line.split(" ") as [string, string];
    const at = arrived.get(`100.127.${octet}.0/26`);
    if (at === undefined) throw new Error(`100.127.${octet}.0/26 did not reach the kernel`);
    return at - Number(answered);
  });
  return times.toSorted((a, b) => a - b)[PUTS >> 1]!;
}
