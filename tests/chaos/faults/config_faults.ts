/** Configs that nobody should write. */
import { type Fault, STORE_KINDS } from "../fault.ts";

/** Networks that would take the hosts' own routes: that of their Ethernet, parts of it, the default gateway's. */
const REFUSED = [
  "172.28.128.0/24",
  "172.28.128.128/25",
  "172.28.0.0/16",
  "10.0.0.0/8",
  "169.254.0.0/16",
].flatMap((network) =>
  ["udp", "vxlan", "host-gw"].map((type) =>
    JSON.stringify({ Network: network, Backend: { Type: type } })
  )
);

const MEGABYTE = 1 << 20;

const everywhere = { scope: "cluster", stores: STORE_KINDS } as const;

/** A config that stays for a while, and is corrected. */
function wrongConfig(name: string, text: (random: (below: number) => number) => string): Fault {
  return {
    ...{ ...everywhere, name, affects: "nobody", holdMs: [2_500, 8_000] },
    async inject({ cluster: { store, config }, random }) {
      await store.setConfig(text(random));
      return () => store.setConfig(config);
    },
  };
}

export const CONFIG_FAULTS: readonly Fault[] = [
  wrongConfig("config-of-the-hosts-network", (random) => REFUSED[random(REFUSED.length)]!),
  wrongConfig("config-garbage", (random) => ["not JSON", "", "[]", "{}"][random(4)]!),
  {
    ...{ ...everywhere, name: "config-of-5-mb", affects: "nobody", holdMs: [2_500, 8_000] },
    async inject({ cluster: { store, config } }) {
      const text = config.replace(/\}$/, `, "Comment": "${"x".repeat(5 * MEGABYTE)}"}`);
      await store.setConfig(text);
      return () => store.setConfig(config);
    },
  },
  {
    ...{ ...everywhere, name: "config-deleted", affects: "nobody", holdMs: [2_500, 8_000] },
    async inject({ cluster: { store, config } }) {
      await store.insist(async (direct, signal) => {
        const there = (await direct.snapshot({ signal })).config;
        if ("text" in there) await direct.removeConfig(there.text, { signal });
      });
      return () => store.setConfig(config);
    },
  },
  {
    ...{ ...everywhere, name: "configs-queued", affects: "everybody", holdMs: [500, 1_000] },
    async inject({ cluster, isLong }) {
      const { store, config } = cluster;
      for (let i = 0; i < (isLong ? 200 : 40); i++) {
        await store.setConfig(config.replaceAll("10.20.", `10.${21 + i % 200}.`));
      }
      return () => cluster.restoreConfig();
    },
  },
];
