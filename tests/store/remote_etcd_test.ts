import { assertEquals, assertRejects } from "@std/assert";
import { makeEtcdV2Lab, makeEtcdV3Lab } from "../../mod/store/testing/etcd_lab.ts";
import { makeRemoteLab } from "../../mod/store/testing/remote_lab.ts";
import { storeCases } from "../../mod/store/testing/store_cases.ts";

storeCases("remote over etcd v2", async () => await makeRemoteLab(await makeEtcdV2Lab()), {
  access: "none",
});

storeCases("remote over etcd v3", async () => await makeRemoteLab(await makeEtcdV3Lab()), {
  access: "none",
});

Deno.test("RemoteStore.leaseForm stays what the server has said while that cannot be reached", async () => {
  await using lab = await makeRemoteLab(await makeEtcdV3Lab());
  await using store = await lab.open("/cases/form");
  await lab.put("/cases/form/config", '{"Network":"10.5.0.0/16"}');
  await store.snapshot();
  assertEquals(store.leaseForm, "v0.20");
  await lab.stop();
  await assertRejects(() => store.snapshot());
  assertEquals(store.leaseForm, "v0.20");
});
