/** Leases that run out, and entries that somebody hostile writes. */
import { Prefix } from "../../../mod/ip/mod.ts";
import type { Lease } from "../../../mod/lease/mod.ts";
import { FOREIGN, HARMFUL } from "../../e2e/store/foreign_entries.ts";
import type { ChaosCluster, ChaosHost } from "../cluster.ts";
import { leaseFacts } from "../chaos_store.ts";
import { ETCD, type Fault, type Heal, HOSTILE, STORE_KINDS } from "../fault.ts";
import { dropStore } from "./path_faults.ts";
import { grantStrayLease, removeLease, strayAttributes, until } from "./stray_lease.ts";

/** Addresses that no host can have: the underlay's ends, and class E. */
const IMPOSSIBLE = ["172.28.128.0", "172.28.128.255", "240.0.0.1"];

/** The lease of a host. */
async function leaseOf({ store }: ChaosCluster, host: ChaosHost): Promise<Lease> {
  const subnet = Prefix.parse((await host.subnet())!)!;
  const lease = await store.insist((direct, signal) => direct.lease(subnet, { signal }));
  if (lease === undefined) throw new Error(`${host.name} has no lease of ${subnet}`);
  return lease;
}

/** Lets the lease of a host run out that does not hear of it. @returns its subnet, and the end of the cut */
async function expireCutOff(
  cluster: ChaosCluster,
  host: ChaosHost,
): Promise<{ subnet: Prefix; reconnect: Heal }> {
  const { subnet } = await leaseOf(cluster, host);
  const reconnect = await dropStore(cluster, host);
  const { store } = cluster;
  await store.insist(async (direct, signal) => {
    const lease = await direct.lease(subnet, { signal });
    if (lease !== undefined) await direct.updateLease(lease, lease.attributes, 1, { signal });
  });
  const isGone = async () =>
    await store.insist((direct, signal) => direct.lease(subnet, { signal })) === undefined;
  // The first host of an embedded store hears of its own, and takes it again.
  if (store.server !== host.lab) await until(`${subnet} has run out`, isGone);
  return { subnet, reconnect };
}

/** Waits until a host has left a subnet. */
async function untilMoved(host: ChaosHost, subnet: Prefix): Promise<void> {
  await until(
    `${host.name} leaves ${subnet}`,
    async () => (await host.subnet() ?? `${subnet}`) !== `${subnet}`,
  );
}

/** Writes entries below a network's directory in etcd. @returns what removes them */
async function writeEntries(
  { store }: ChaosCluster,
  entries: readonly (readonly [key: string, value: string])[],
): Promise<Heal> {
  const { raw } = store;
  for (const [key, value] of entries) await raw.put(`${store.prefix}/${key}`, value);
  return async () => {
    for (const [key] of entries) await raw.delete(`${store.prefix}/${key}`);
  };
}

/** A lease as agents of the cluster write it. */
function leaseValue(
  { backend: { type } }: ChaosCluster,
  publicIP: string,
  vtepMac: string,
): string {
  return JSON.stringify({
    PublicIP: publicIP,
    ...(type === "udp" ? {} : { BackendType: type }),
    ...(type === "vxlan" ? { BackendData: { VNI: 1, VtepMAC: vtepMac } } : {}),
  });
}

const ofHost = { scope: "host", affects: "host", stores: STORE_KINDS } as const;
const hostile = { scope: "host", affects: "nobody", stores: ETCD } as const;

function hostileNodeRecords(
  name: string,
  backends: NonNullable<Fault["backends"]>,
  affects: Fault["affects"],
): Fault {
  return {
    ...{ ...hostile, name, backends, affects, holdMs: [2_000, 8_000] },
    inject: ({ cluster, host }) =>
      writeEntries(cluster, [
        [`agents/${host.lab.address}`, "not JSON"],
        [`agents/${HOSTILE}`, JSON.stringify({ machineId: 1, features: "x".repeat(5_000) })],
        ["agents/nobody", "[]"],
      ]),
  };
}

export const LEASE_FAULTS: readonly Fault[] = [
  {
    ...{ ...ofHost, name: "lease-expired-while-cut-off", holdMs: [2_000, 10_000] },
    async inject({ cluster, host }) {
      return (await expireCutOff(cluster, host)).reconnect;
    },
  },
  {
    ...{ ...ofHost, name: "lease-taken-while-cut-off", allows: ["stray"], holdMs: [2_000, 10_000] },
    async inject({ cluster, host }) {
      const { subnet, reconnect } = await expireCutOff(cluster, host);
      if (cluster.store.server === host.lab) return reconnect;
      const removeStray = await grantStrayLease(cluster, subnet);
      return async () => {
        await reconnect();
        await untilMoved(host, subnet);
        await removeStray();
      };
    },
  },
  {
    ...{ ...ofHost, name: "lease-overwritten", allows: ["stray"], holdMs: [1_000, 5_000] },
    async inject({ cluster, host }) {
      const { subnet } = await leaseOf(cluster, host);
      await cluster.store.insist(async (direct, signal) => {
        const lease = await direct.lease(subnet, { signal });
        const attributes = strayAttributes(cluster);
        // A reply may have been lost.
        if (lease === undefined || lease.attributes.publicIP === attributes.publicIP) return;
        await direct.updateLease(lease, attributes, 86_400, { signal });
      });
      return async () => {
        await untilMoved(host, subnet);
        await removeLease(cluster, subnet);
      };
    },
  },
  {
    ...{ ...hostile, name: "hostile-leases", holdMs: [2_000, 8_000] },
    async inject({ cluster, host }) {
      const facts = leaseFacts(await cluster.store.insist((direct) => direct.snapshot()));
      const vtepMac = facts.find(({ publicIP }) => publicIP === host.lab.address)?.vtepMac ?? "";
      const { type } = cluster.backend;
      return await writeEntries(cluster, [
        ...FOREIGN.map(([key, value]) => [`subnets/${key}`, value] as const),
        // They are about a vxlan network.
        ...(type === "vxlan" ? HARMFUL : []).map(([key, value]) =>
          [`subnets/${key}`, value] as const
        ),
        ...IMPOSSIBLE.map((publicIP, i) =>
          [
            `subnets/10.20.${221 + i}.0-24`,
            leaseValue(cluster, publicIP, `0a:00:00:00:01:0${i}`),
          ] as const
        ),
        // With the VTEP MAC of a host that is there.
        ...(type === "vxlan"
          ? [["subnets/10.20.225.0-24", leaseValue(cluster, HOSTILE, vtepMac)] as const]
          : []),
      ]);
    },
  },
  {
    ...{ ...hostile, name: "second-lease-of-a-public-ip", holdMs: [2_000, 8_000] },
    inject: ({ cluster, host }) =>
      writeEntries(cluster, [
        ["subnets/10.20.226.0-24", leaseValue(cluster, host.lab.address, "0a:00:00:00:02:00")],
      ]),
  },
  hostileNodeRecords("hostile-node-records", ["vxlan", "host-gw"], "nobody"),
  // Hosts send by the kernel only to hosts whose record advertises the feature. Without that record
  // packets go through user space, which ends with the agent.
  hostileNodeRecords("hostile-node-records-by-udp", ["udp"], "host"),
  {
    ...{ ...hostile, name: "hostile-client", stores: ["embedded"], holdMs: [500, 1_000] },
    async inject({ cluster: { store, config }, host }) {
      const url = `http://${store.address}:${store.ports[0]}/v1/_/store`;
      const texts = [config.replace("10.20.", "10.99."), "not JSON", "x".repeat(100_000)];
      for (const path of ["config", "leases/10.20.230.0-24", `agents/${HOSTILE}`]) {
        for (const body of texts) {
          const { stdout } = await host.lab.run([
            ...["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "10", "-X", "PUT"],
            ...["-H", "content-type: application/json", "--data-binary", body, `${url}/${path}`],
          ]);
          // The server's own host may write.
          if (stdout.startsWith("2")) throw new Error(`PUT ${path} without credentials: ${stdout}`);
        }
      }
      return () => Promise.resolve();
    },
  },
];
