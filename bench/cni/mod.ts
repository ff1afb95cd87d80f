/**
 * The time to connect a container: ADD and DEL of the CNI plugin, with delegates and without, and of the plugins
 * bridge and host-local alone, from the call to its end.
 *
 * @module
 */
import { CniLab, type NetConf } from "../../tests/e2e/cni/cni_lab.ts";

/** Containers of each way. */
const CONTAINERS = 30;

interface Way {
  readonly name: string;
  readonly plugin?: string;
  readonly config: (lab: CniLab) => NetConf;
}

const WAYS: readonly Way[] = [
  { name: "flannel, builtin", config: (lab) => lab.builtin({}, { cniVersion: "1.0.0" }) },
  { name: "flannel, delegates", config: (lab) => lab.config() },
  {
    name: "bridge alone",
    plugin: "bridge",
    config: (lab) => ({
      ...{ cniVersion: "1.0.0", name: "cbr0", type: "bridge", bridge: "cni0", mtu: 1450 },
      ...{ isGateway: true, isDefaultGateway: true },
      ipam: {
        ...{ type: "host-local", dataDir: lab.networks, routes: [{ dst: "10.20.0.0/16" }] },
        ranges: [[{ subnet: "10.20.93.0/24" }]],
      },
    }),
  },
];

/** Prints milliseconds for each way, `ip netns exec` included. */
export async function run(): Promise<void> {
  for (const way of WAYS) {
    await using lab = await CniLab.create();
    const times = { ADD: [] as number[], DEL: [] as number[] };
    for (let index = 0; index < CONTAINERS; index++) {
      const container = await lab.container();
      for (const command of ["ADD", "DEL"] as const) {
        const call = { command, id: `c${index}`, container, config: way.config(lab) };
        const start = performance.now();
        await lab.succeed({ ...call, ...way.plugin === undefined ? {} : { plugin: way.plugin } });
        times[command].push(performance.now() - start);
      }
      await lab.remove(container);
    }
    for (const [command, all] of Object.entries(times)) {
      all.sort((a, b) => a - b);
      const [least, median] = [all[0]!, all[all.length >> 1]!].map((ms) => ms.toFixed(0));
      console.log(`${way.name.padEnd(20)} ${command}  median ${median} ms, least ${least} ms`);
    }
  }
}
