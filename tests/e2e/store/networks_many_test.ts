import { assertEquals } from "@std/assert";
import { Lab, type UnderlayHost } from "../../lab/lab.ts";
import { FLANNELD } from "../../lab/unit.ts";

/** Each waits for events of the kernel, for which the runtime has 32 threads. */
const NETWORKS = Array.from({ length: 14 }, (_, i) => `n${i + 1}`);

const STORE = "-store=embedded=/var/lib/flannel/many.db";

Deno.test("flanneld carries fourteen networks, and ends in order when it has run for a while", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const [host] = lab.hosts as [UnderlayHost];
  for (const [i, network] of NETWORKS.entries()) {
    const config = `{"Network":"10.${100 + i}.0.0/16","Backend":{"Type":"host-gw"}}`;
    await host.exec([FLANNELD, "config", "set", "-yes", STORE, `-networks=${network}`, config]);
  }
  await using agent = await host.spawn([
    ...[FLANNELD, STORE, "-iface=eth1", `-networks=${NETWORKS.join()}`],
    ...["-subnet-dir=/run/flannel/n", "-status-socket=/run/flannel/s.sock"],
  ]);
  for (const network of NETWORKS) {
    await agent.waitFor(new RegExp(`${network}: Wrote subnet file`), { timeout: 60_000 });
  }
  // Each has the runtime collect what it has no use for any more.
  for (let i = 0; i < 10; i++) {
    const { stdout } = await host.run([
      ...[FLANNELD, "status", "-json", "-status-socket=/run/flannel/s.sock"],
    ]);
    assertEquals(JSON.parse(stdout).networks.length, NETWORKS.length);
  }
  agent.signal("SIGTERM");
  await agent.waitFor(/Exiting cleanly/);
  assertEquals((await agent.status).code, 0);
});
