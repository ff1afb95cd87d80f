import { assertEquals, assertRejects } from "@std/assert";
import { BackendLab } from "../../backends/testing/backend_lab.ts";
import { Agent } from "../../mod/agent/core/agent.ts";
import { HostRegistry } from "../../mod/agent/host/host_registry.ts";
import type { AgentOptions } from "../../mod/agent/core/options.ts";
import { captureLog } from "../../mod/observe/testing/log_lab.ts";
import { openEmbedded } from "../../mod/store/embedded/embedded.ts";
import { record } from "../../mod/store/testing/store_lab.ts";
import { DuplicatePublicIPError } from "../../mod/subnet/mod.ts";

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

Deno.test("Agent leaves no watch behind when it ends by an error, for another is begun in its place", async () => {
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
    ...{ udp: {}, vxlan: {} },
    healthz: { ip: "127.0.0.1", port: 0 },
    status: { watchBound: 120, metricsPeers: 0 },
  };
  try {
    await using store = await openEmbedded({ kind: "embedded", path: `${directory}/db` }, {
      owner: true,
    });
    await store.putConfig('{"Network":"10.20.0.0/16","Backend":{"Type":"alloc"}}', undefined);
    const before = watches();
    const own = record("host100", crypto.randomUUID());
    {
      await using registry = new HostRegistry({
        ...{ holder: "the test", subnetFile, directory: `${directory}/agents` },
      });
      await using agent = new Agent({
        ...{ options, store, netlink, external, registry, signal, record: own, former: {} },
      });
      const running = agent.run();
      running.catch(() => {});
      while (!agent.view.isReady || watches().length === before.length) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      // A second agent of this host takes the record.
      const held = (await store.agent(external.publicIP))!;
      await store.putAgent(
        external.publicIP,
        { ...own, instance: crypto.randomUUID() },
        600,
        held.revision,
      );
      await assertRejects(() => running, DuplicatePublicIPError);
    }
    // Waits in other threads have yet to end.
    for (let i = 0; i < 100 && watches().length > before.length; i++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assertEquals(watches(), before);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
