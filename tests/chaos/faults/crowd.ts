/** More hosts than subnets, all at one instant. */
import { assert, assertEquals } from "@std/assert";
import { FLANNELD } from "../../lab/unit.ts";
import { ChaosCluster, type ChaosHost } from "../cluster.ts";
import { type Fault, STORE_KINDS, type Target } from "../fault.ts";
import { until } from "./stray_lease.ts";

/** Subnets, in a short and in a long run: an agent takes 50 MiB, and a second of the processor to start. */
const SUBNETS = [6, 40] as const;

async function crowd({ cluster: { store, backend }, isLong, random }: Target): Promise<void> {
  const count = SUBNETS[isLong ? 1 : 0];
  const config = JSON.stringify({
    ...JSON.parse(backend.config),
    ...{ Network: "10.60.0.0/16", SubnetLen: 24 },
    ...{ SubnetMin: "10.60.1.0", SubnetMax: `10.60.${count}.0` },
  });
  await using crowded = await ChaosCluster.start({
    ...{ store: store.kind, backend, hosts: count + 1, config, beside: store },
    onExit: (host, code, line) => {
      throw new Error(`crowd: agent of ${host.name} ended with ${code}: ${line}`);
    },
  });
  const lucky = crowded.hosts.slice(0, count) as [ChaosHost, ...ChaosHost[]];
  const late = crowded.hosts.at(-1)!;
  // The host that serves an embedded store is there before its clients.
  if (store.kind === "embedded") await lucky[0].agent.start();
  await Promise.all(lucky.map(({ agent }) => agent.pid === undefined ? agent.start() : undefined));
  const subnets = await Promise.all(lucky.map((host) => host.subnet()));
  assertEquals(new Set(subnets).size, count, `${subnets}`);
  assert(subnets.every((subnet) => subnet?.startsWith("10.60.")), `${subnets}`);

  await late.agent.launch();
  await until(
    "the last host is out of subnets",
    () => Promise.resolve(/out of subnets/.test(late.agent.log)),
  );
  const leaver = lucky[1 + random(count - 1)]!;
  const freed = await leaver.subnet();
  await leaver.agent.stop();
  await leaver.lab.exec([FLANNELD, "cleanup", "-release"]);
  await until(`the last host has ${freed}`, async () => await late.subnet() === freed);
}

export const CROWD: Fault = {
  ...{ name: "crowd", scope: "cluster", stores: STORE_KINDS, affects: "nobody", holdMs: [1, 1] },
  async inject(target) {
    await crowd(target);
    return () => Promise.resolve();
  },
};
