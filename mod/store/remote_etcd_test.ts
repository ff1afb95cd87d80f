import { makeEtcdV2Lab, makeEtcdV3Lab } from "./etcd_lab.ts";
import { makeRemoteLab } from "./remote_lab.ts";
import { storeCases } from "./store_cases.ts";

storeCases("remote over etcd v2", async () => await makeRemoteLab(await makeEtcdV2Lab()), {
  access: "none",
});

storeCases("remote over etcd v3", async () => await makeRemoteLab(await makeEtcdV3Lab()), {
  access: "none",
});
