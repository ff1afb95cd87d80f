import { assertEquals } from "@std/assert";
import { allocBackend } from "../../backends/alloc/alloc.ts";
import { backendCases } from "../../backends/testing/backend_cases.ts";
import { BackendLab, makeLease, prepare } from "../../backends/testing/backend_lab.ts";
import { LeaseSet } from "../../mod/subnet/mod.ts";

backendCases({ backend: allocBackend, overhead: 0, lease: makeLease });

Deno.test("alloc: sync() and apply() change nothing in the kernel", async () => {
  await using lab = await BackendLab.make();
  const { host } = lab;
  const before = await host.state();
  const changes = await host.changesDuring(async () => {
    const { network, own } = await prepare(
      allocBackend,
      await host.context({ Type: "alloc" }),
      "10.20.1.0/24",
    );
    const leases = new LeaseSet();
    assertEquals(await network.sync(own, leases), 0);
    const put = makeLease("10.20.2.0/24", "172.28.128.101");
    assertEquals(await network.apply(leases.apply([{ put }])), 0);
    await network.remove();
    assertEquals(own.attributes, { publicIP: host.external.publicIP });
  });
  assertEquals(changes, []);
  assertEquals(await host.state(), before);
});
