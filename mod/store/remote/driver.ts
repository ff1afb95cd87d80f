import type { StoreDriver } from "../driver.ts";
import { UNNAMED_NETWORK } from "../network_name.ts";
import type { RemoteStoreOptions } from "./options.ts";

/** A `flanneld -listen` on another host, over any store. */
export const remoteDriver: StoreDriver<RemoteStoreOptions> = {
  kind: "remote",
  isLocal: false,
  withNetwork: (options, network) => ({ ...options, network }),
  hosts: ({ servers }) => servers.map((server) => new URL(`http://${server}`).hostname),
  describe: ({ servers }) => `flanneld server at ${servers.join()}`,
  configPlace: (_options, name) =>
    `${name} looks for it in its own store (see -store and -etcd-prefix there)`,
  async open(options, { names }) {
    const { openRemote } = await import("./remote.ts");
    const { network = UNNAMED_NETWORK } = options;
    const kv = await openRemote(options);
    if (names) return { kv, prefix: "" };
    return {
      kv,
      prefix: `/${network}`,
      ...(network === UNNAMED_NETWORK ? {} : { name: `${kv.name}, network ${network}` }),
    };
  },
};
