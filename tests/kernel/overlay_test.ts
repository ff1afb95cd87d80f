import { assertEquals, assertRejects } from "@std/assert";
import type { Backend } from "../../backends/backend.ts";
import { BackendLab } from "../../backends/testing/backend_lab.ts";
import { loadBackend } from "../../backends/registry.ts";
import { HostRegistry } from "../../mod/agent/host/host_registry.ts";
import { Prefix } from "../../mod/ip/mod.ts";
import { StoreView } from "../../mod/agent/core/store_view.ts";
import { LeaseKeeper } from "../../mod/agent/lease/keeper.ts";
import { Overlay } from "../../mod/agent/core/overlay.ts";
import type { Publisher } from "../../mod/agent/lease/publisher.ts";
import { Repairs } from "../../mod/agent/core/repairs.ts";
import { AgentMetrics } from "../../mod/agent/status/agent_metrics.ts";
import { NetworkRefusedError } from "../../mod/agent/core/usable_network.ts";
import { captureLog } from "../../mod/observe/testing/log_lab.ts";
import { openEmbedded } from "../../mod/store/testing/open_lab.ts";
import type { NetworkStore } from "../../mod/store/mod.ts";
import { record } from "../../mod/store/testing/store_lab.ts";
import { config } from "../store/subnet_lab.ts";

interface OverlayTest {
  readonly lab: BackendLab;
  readonly overlay: Overlay;
  /** Claims of another agent on the host. */
  readonly other: HostRegistry;
  readonly store: NetworkStore;
  /** In place of the subnet file; a test can make `publish()` fail. */
  readonly publisher: { publish: () => Promise<void> };
  readonly signal: AbortSignal;
}

/** An overlay on the first host of a lab, with a store of its own. */
function test(sentence: string, body: (test: OverlayTest) => Promise<void>): void {
  Deno.test(sentence, async () => {
    using _log = captureLog();
    await using lab = await BackendLab.make();
    const { netlink } = lab.host;
    const directory = await Deno.makeTempDir({ prefix: "overlay-" });
    const { signal } = new AbortController();
    try {
      await using store = await openEmbedded({ kind: "embedded", path: `${directory}/db` }, {
        owner: true,
      });
      using keeper = new LeaseKeeper({
        ...{ store, renewMargin: 3600, onDue: () => {}, signal },
        record: record("host100", crypto.randomUUID()),
      });
      using repairs = new Repairs(() => {});
      const registryOf = (name: string) =>
        new HostRegistry({
          ...{ holder: name, subnetFile: `${directory}/${name}.env` },
          directory: `${directory}/agents`,
        });
      await using registry = registryOf("subnet");
      await using other = registryOf("other");
      const publisher = {
        published: {},
        requireTools: () => Promise.resolve(),
        publish: () => Promise.resolve(),
        checkFirewall: () => Promise.resolve(),
        applyPeers: () => {},
      };
      await using overlay = new Overlay({
        ...{ store, netlink, keeper, repairs, registry, signal },
        publisher: publisher as unknown as Publisher,
        options: {
          ...{ allowedNetworks: [], ipMasq: false, udp: {}, vxlan: {} },
          store: { kind: "embedded", path: `${directory}/db` },
          subnetFile: `${directory}/subnet.env`,
        },
        known: new StoreView(),
        metrics: new AgentMetrics(),
        formerNetwork: undefined,
        onSourcesDue: () => {},
        onFailed: (error) => {
          throw error;
        },
      });
      await body({ lab, overlay, other, store, publisher, signal });
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}

const configOf = (Network: string, Type: string) => config({ Network, Backend: { Type } });

test("Overlay.bringUp() watches over the new network though the former could not be removed", async ({ lab, overlay }) => {
  const { external } = lab.host;
  await overlay.bringUp(await configOf("10.20.0.0/16", "vxlan"), external);
  const former = overlay.active!.network;
  former.remove = () => Promise.reject(new Error("RTM_DELLINK flannel.1: EBUSY"));
  const backend = await loadBackend("host-gw") as { prepare: Backend["prepare"] };
  const { prepare } = backend;
  let watched = 0;
  backend.prepare = async (context) => {
    const network = await prepare(context);
    network.run = () => Promise.resolve(void watched++);
    return network;
  };
  try {
    await assertRejects(
      async () => await overlay.bringUp(await configOf("10.20.0.0/16", "host-gw"), external),
      Error,
    );
  } finally {
    backend.prepare = prepare;
  }
  assertEquals([overlay.active?.config.backend.type, watched], ["host-gw", 1]);
});

test("Overlay.repair() removes routes of a former network, but for another agent's that has taken it over", async (context) => {
  const { lab: { host }, overlay, other, signal } = context;
  const routes = () => host.namespace.ip("route", "show", "10.20.7.0/24");
  const repair = async () => {
    overlay.invalidate();
    await overlay.repair(host.external);
  };
  await overlay.bringUp(await configOf("10.20.0.0/16", "alloc"), host.external);
  await overlay.bringUp(await configOf("10.30.0.0/16", "alloc"), host.external);
  const taken = { network: Prefix.parse("10.20.0.0/16")!, resources: [] };
  await other.register(taken, signal);
  await host.namespace.ip("route", "add", ..."10.20.7.0/24 dev eth1 proto 102".split(" "));
  await repair();
  assertEquals((await routes()).trim(), "10.20.7.0/24 dev eth1 proto 102 scope link");
  await other[Symbol.asyncDispose]();
  await repair();
  assertEquals(await routes(), "");
});

test("Overlay.bringUp() removes what a network that failed half-way has made, and its lease", async (context) => {
  const { lab: { host }, overlay, store, publisher } = context;
  const { external, netlink } = host;
  const of = (Network: string, VNI: number) => config({ Network, Backend: { Type: "vxlan", VNI } });
  const devices = () =>
    netlink.links().map(({ name }) => name).filter((name) => name.startsWith("flannel"));
  const leases = async () =>
    (await store.snapshot()).leases.map(({ subnet }) => String(subnet).split(".")[1]);
  await overlay.bringUp(await of("10.20.0.0/16", 1), external);
  const { publish } = publisher;
  publisher.publish = () => Promise.reject(new Error("No space left on device"));
  const other = await of("10.30.0.0/16", 2);
  await assertRejects(async () => await overlay.bringUp(other, external), Error);
  assertEquals(devices(), ["flannel.1", "flannel.2"]);
  publisher.publish = publish;
  // The config is what it was again.
  await overlay.bringUp(await of("10.20.0.0/16", 1), external);
  assertEquals([devices(), await leases()], [["flannel.1"], ["20"]]);
});

test("Overlay.bringUp() refuses a network that the host is on, and makes nothing", async (context) => {
  const { lab: { host }, overlay, store } = context;
  const before = await host.state();
  const bad = await configOf("172.28.128.0/24", "udp");
  await assertRejects(() => overlay.bringUp(bad, host.external), NetworkRefusedError);
  assertEquals(await host.state(), before);
  const { leases, agents } = await store.snapshot();
  assertEquals([leases, agents], [[], []]);
});
