/** Packets that do not arrive: filters in the hosts' switch, so that no host's own firewall changes. */
import type { ChaosCluster, ChaosHost } from "../cluster.ts";
import { type Fault, type Heal, STORE_KINDS } from "../fault.ts";

/** To the switch, or from it, as the host sees it. */
export type Direction = "out" | "in";

const BOTH: readonly Direction[] = ["out", "in"];

/**
 * Drops what a host sends or receives.
 *
 * @param match which packets, in nft's words. @default all
 */
export async function dropAtSwitch(
  { lab }: ChaosCluster,
  host: ChaosHost,
  directions: readonly Direction[] = BOTH,
  match = "",
): Promise<Heal> {
  const table = `bridge chaos-${crypto.randomUUID().slice(0, 8)}`;
  const port = `${host.name}-eth1`;
  const lines = [
    `add table ${table}`,
    `add chain ${table} out { type filter hook prerouting priority 0; }`,
    `add chain ${table} in { type filter hook postrouting priority 0; }`,
    ...directions.map((direction) =>
      `add rule ${table} ${direction} ${direction === "out" ? "iifname" : "oifname"} ${port} ` +
      `${match} drop`
    ),
  ];
  await lab.switch.exec(["nft", lines.join("; ")]);
  return async () => {
    await lab.switch.exec(["nft", `delete table ${table}`]);
  };
}

/** Drops what a host and the store exchange. On the host that serves it, that is all hosts'. */
export function dropStore(
  cluster: ChaosCluster,
  host: ChaosHost,
  directions: readonly Direction[] = BOTH,
): Promise<Heal> {
  const ports = `{ ${cluster.store.ports.join(", ")} }`;
  // Of either direction: the other end's port is the first or the second.
  const match = `ether type ip meta l4proto tcp th dport ${ports}`;
  return both(
    dropAtSwitch(cluster, host, directions, match),
    dropAtSwitch(cluster, host, directions, match.replace("dport", "sport")),
  );
}

async function both(...heals: readonly Promise<Heal>[]): Promise<Heal> {
  const all = await Promise.all(heals);
  return async () => {
    for (const heal of all) await heal();
  };
}

const everywhere = { scope: "host", stores: STORE_KINDS } as const;

export const PATH_FAULTS: readonly Fault[] = [
  {
    ...{ ...everywhere, name: "cut-off", affects: "host", holdMs: [3_000, 20_000] },
    inject: ({ cluster, host }) => dropAtSwitch(cluster, host),
  },
  {
    ...{ ...everywhere, name: "one-way-loss", affects: "host", holdMs: [3_000, 15_000] },
    inject: ({ cluster, host, random }) => dropAtSwitch(cluster, host, [BOTH[random(2)]!]),
  },
  {
    ...{ ...everywhere, name: "cut-off-from-store", affects: "nobody", holdMs: [4_000, 30_000] },
    inject: ({ cluster, host }) => dropStore(cluster, host),
  },
  {
    ...{ ...everywhere, name: "one-way-store-loss", affects: "nobody", holdMs: [4_000, 30_000] },
    inject: ({ cluster, host, random }) => dropStore(cluster, host, [BOTH[random(2)]!]),
  },
];
