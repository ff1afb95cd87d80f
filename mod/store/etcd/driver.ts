import type { StoreDriver } from "../driver.ts";
import { displayEndpoints } from "./endpoints.ts";
import type { EtcdStoreOptions } from "./options.ts";

/** etcd, v2 or v3. A named network is a deeper prefix. */
export const etcdDriver: StoreDriver<EtcdStoreOptions> = {
  kind: "etcd",
  isLocal: false,
  withNetwork: (options, network) => ({ ...options, prefix: `${options.prefix}/${network}` }),
  hosts: ({ endpoints }) => endpoints.map((url) => new URL(url).hostname),
  describe: ({ endpoints, prefix }) => `etcd at ${displayEndpoints(endpoints)}, prefix ${prefix}`,
  configPlace: ({ prefix }, name) =>
    `it is looked for at ${prefix}/config in ${name} (see -etcd-prefix, FLANNEL_ETCD_PREFIX and ` +
    "-etcd-api)",
  async open(options, { names, signal }) {
    const { openEtcd } = await import("./open.ts");
    return await openEtcd(options, names, signal);
  },
};
