/** Members of etcd, connections to the store, and its history. */
import { EtcdKeys } from "../../lab/etcd/etcd_keys.ts";
import { EtcdGateway } from "../../lab/etcd/etcd_gateway.ts";
import { ETCD, type Fault, STORE_KINDS, type Target } from "../fault.ts";
import { grantStrayLease } from "./stray_lease.ts";

const nobody = { scope: "store", affects: "nobody" } as const;

/** Makes the store forget its history while an agent is stopped, who meanwhile misses a new peer. */
async function forgetWhileStopped({ cluster, host }: Target, forget: () => Promise<void>) {
  host.agent.freeze(true);
  const removeStray = await grantStrayLease(cluster);
  await forget();
  return async () => {
    host.agent.freeze(false);
    await removeStray();
  };
}

export const STORE_FAULTS: readonly Fault[] = [
  {
    ...{ ...nobody, name: "leader-killed", stores: ETCD, holdMs: [3_000, 10_000] },
    async inject({ cluster }) {
      const leader = await cluster.store.leader();
      await leader.kill();
      return () => leader.resume();
    },
  },
  {
    // Of three, so that one or two of them leave no quorum.
    ...{ ...nobody, name: "members-frozen", stores: ETCD, holdMs: [3_000, 20_000] },
    async inject({ cluster, random }) {
      const first = random(3);
      const frozen = Array.from(
        { length: 1 + random(2) },
        (_, i) => cluster.store.members[(first + i) % 3]!,
      );
      for (const member of frozen) await member.freeze(true);
      return async () => {
        for (const member of frozen) await member.freeze(false);
      };
    },
  },
  {
    ...{ ...nobody, name: "connections-reset", stores: STORE_KINDS, holdMs: [1_500, 3_000] },
    async inject({ cluster: { store: { server, ports } } }) {
      await server.exec([
        "nft",
        "add table inet chaos; add chain inet chaos input { type filter hook input priority -10; }; " +
        `add rule inet chaos input tcp dport { ${ports.join(", ")} } reject with tcp reset`,
      ]);
      return async () => {
        // Somebody may have flushed all tables meanwhile.
        await server.run(["nft", "delete table inet chaos"]);
      };
    },
  },
  {
    ...{ name: "compacted-while-stopped", stores: ["v3"], holdMs: [1_000, 5_000] },
    ...{ scope: "host", affects: "nobody", allows: ["stray"] },
    inject: (target) =>
      forgetWhileStopped(target, async () => {
        const { raw } = target.cluster.store;
        if (raw instanceof EtcdGateway) await raw.compact();
      }),
  },
  {
    ...{ name: "overrun-while-stopped", stores: ["v2"], holdMs: [1_000, 5_000] },
    ...{ scope: "host", affects: "nobody", allows: ["stray"] },
    inject: (target) =>
      forgetWhileStopped(target, async () => {
        const { raw } = target.cluster.store;
        if (raw instanceof EtcdKeys) await raw.loseHistory();
      }),
  },
];
