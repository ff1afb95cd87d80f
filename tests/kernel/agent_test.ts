import { assert, assertEquals } from "@std/assert";
import { BackendLab } from "../../backends/testing/backend_lab.ts";
import { Agent } from "../../mod/agent/core/agent.ts";
import { HostRegistry } from "../../mod/agent/host/host_registry.ts";
import type { AgentOptions } from "../../mod/agent/core/options.ts";
import { captureLog } from "../../mod/observe/testing/log_lab.ts";
import { openEmbedded } from "../../mod/store/testing/open_lab.ts";
import { record } from "../../mod/store/testing/store_lab.ts";
import type { ExternalInterface } from "../../mod/host/mod.ts";
import type { NetworkStore, WatchItem } from "../../mod/store/mod.ts";
import { delay } from "../lab/process.ts";

/** Returns this process's descriptors that wait for events of the kernel. */
function watches(): string[] {
  return [...Deno.readDirSync("/proc/self/fd")].flatMap(({ name }) => {
    try {
      const file = Deno.readLinkSync(`/proc/self/fd/${name}`);
      return file === "anon_inode:[eventfd]" ? [file] : [];
    } catch {
      return [];
    }
  });
}

/** Config of a network that needs nothing of the kernel. @param second octet of its range */
function configOf(second: number): string {
  return JSON.stringify({ Network: `10.${second}.0.0/16`, Backend: { Type: "alloc" } });
}

/**
 * Runs an agent whose store is a file.
 *
 * @param seenBy makes of that store what the agent sees. @default the store itself
 * @param body is given the store, and a function that starts the agent
 */
async function withAgent(
  body: (store: NetworkStore, start: () => Agent, external: ExternalInterface) => Promise<void>,
  seenBy: (store: NetworkStore) => NetworkStore = (store) => store,
): Promise<void> {
  using _log = captureLog();
  await using lab = await BackendLab.make();
  const { external, netlink } = lab.host;
  const directory = await Deno.makeTempDir({ prefix: "agent-" });
  const subnetFile = `${directory}/subnet.env`;
  const { signal } = new AbortController();
  const options: AgentOptions = {
    store: { kind: "embedded", path: `${directory}/db` },
    interface: { ifaces: ["eth1"], regexes: [] },
    allowedNetworks: [],
    subnetFile,
    renewMargin: 3600,
    firewall: "auto",
    ...{ ipMasq: false, forwardRules: false, iptablesResync: 3600, masqRandomFullyDisable: false },
    dockerRules: false,
    dockerPlugin: false,
    ...{ udp: {}, vxlan: {} },
    healthz: { ip: "127.0.0.1", port: 0 },
    status: { watchBound: 120, metricsPeers: 0 },
  };
  try {
    await using store = await openEmbedded({ kind: "embedded", path: `${directory}/db` }, {
      owner: true,
    });
    await store.putConfig(configOf(20), undefined);
    const registry = new HostRegistry({
      ...{ holder: "the test", subnetFile, directory: `${directory}/agents` },
    });
    const own = record("host100", crypto.randomUUID());
    const start = () =>
      new Agent({
        ...{ options, store: seenBy(store), netlink, external, registry, signal },
        ...{ record: own, former: {} },
      });
    try {
      await body(store, start, external);
    } finally {
      await registry[Symbol.asyncDispose]();
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Waits until an agent is ready. */
async function untilReady(agent: Agent): Promise<void> {
  while (!agent.view.isReady) await delay(10);
}

Deno.test("Agent leaves no watch behind when it is disposed of, for another is begun in its place", async () => {
  await withAgent(async (_store, start) => {
    const before = watches();
    {
      await using agent = start();
      agent.run().catch(() => {});
      await untilReady(agent);
      while (watches().length === before.length) await delay(10);
    }
    // Waits in other threads have yet to end.
    for (let i = 0; i < 100 && watches().length > before.length; i++) await delay(20);
    assertEquals(watches(), before);
  });
});

Deno.test("Agent goes on, with a warning, when its node record is rewritten, and does not write its lease", async () => {
  await withAgent(async (store, start, { publicIP }) => {
    await using agent = start();
    let ended: unknown;
    agent.run().catch((error) => ended = error);
    await untilReady(agent);
    const lease = agent.view.lease;
    // Anybody who reads the record knows what makes another one look like an agent of this host.
    const held = (await store.agent(publicIP))!;
    const other = { ...held.record, instance: crypto.randomUUID() };
    await store.putNodeRecord(publicIP, other, 600, held.revision);
    const isWarned = () =>
      agent.view.warnings.some(({ message }) => message.includes("is in use by another flanneld"));
    while (!isWarned() && ended === undefined) await delay(10);
    assertEquals(ended, undefined);
    // The rightful holder of the address, if there is one, has the lease too.
    await store.removeLease(lease!);
    await delay(500);
    assertEquals([(await store.snapshot()).leases, ended], [[], undefined]);
    assert(isWarned());
  });
});

/** Items of a watch over ten successive configs of a network. */
const TEN: readonly WatchItem[] = Array.from({ length: 10 }, (_, i) => ({
  type: "changes",
  changes: [{ type: "config", config: { text: configOf(21 + i) } }],
  cursor: "0",
}));

Deno.test("Agent goes to the newest of the configs that came while a bring-up took longer than they may wait", async () => {
  let leased = 0;
  /** A store that takes its time with leases, as on a busy machine, and that has the ten at once. */
  const slow = (store: NetworkStore): NetworkStore =>
    new Proxy(store, {
      get(target, name) {
        if (name === "watch") {
          return async function* (...args: Parameters<NetworkStore["watch"]>) {
            for await (const item of target.watch(...args)) {
              const isConfig = item.type === "changes" &&
                item.changes.some((change) => change.type === "config");
              if (isConfig) yield* TEN;
              else yield item;
            }
          };
        }
        if (name === "createLease") {
          return async (...args: Parameters<NetworkStore["createLease"]>) => {
            leased++;
            await delay(1_500);
            return await target.createLease(...args);
          };
        }
        const member = Reflect.get(target, name, target);
        return typeof member === "function" ? member.bind(target) : member;
      },
    });
  await withAgent(async (store, start) => {
    await using agent = start();
    agent.run().catch(() => {});
    await untilReady(agent);
    // Until the check of the start is longer ago than changes may wait.
    await delay(1_500);
    await store.putConfig(configOf(30), configOf(20));
    const isNewest = async () =>
      (await store.snapshot()).leases.some(({ subnet }) => `${subnet}`.startsWith("10.30."));
    while (!await isNewest()) await delay(50);
    // Of the one before, the first and the newest of the ten.
    assert(leased <= 3, `${leased} leases`);
  }, slow);
});
