import type { DockerVersion } from "../lab/docker.ts";
import type { EtcdApi } from "../lab/etcd/lab_etcd.ts";
import { BACKENDS } from "./guide.ts";
import { followGuide } from "./guide_case.ts";

/** Each Docker on one of etcd's APIs: neither has to do with the other. */
const CASES: readonly { readonly api: EtcdApi; readonly version: DockerVersion }[] = [
  { api: "v2", version: "testing" },
  { api: "v3", version: "installed" },
];

for (
  const { api, version, backend } of CASES.flatMap((one) =>
    BACKENDS.map((backend) => ({ ...one, backend }))
  )
) {
  const title = `by ${backend.type}, on etcd ${api}, Docker: ${version}`;
  Deno.test(
    `flanneld carries the guide's nine container pings, and TCP, ${title}`,
    () => followGuide({ api, version, backend }),
  );
}
