import type { StoreDriver } from "../driver.ts";
import { UNNAMED_NETWORK } from "../network_name.ts";
import type { EmbeddedStoreOptions } from "./options.ts";

/** The leases in one local file. */
export const embeddedDriver: StoreDriver<EmbeddedStoreOptions> = {
  kind: "embedded",
  isLocal: true,
  withNetwork: ({ path }, network) => ({ kind: "embedded", path, network }),
  hosts: () => [],
  describe: ({ path }) => `embedded store ${path}`,
  configPlace({ path, network }, name) {
    const place = `it is looked for in ${name}`;
    if (network === undefined) {
      return `${place}; give -network, for example -network=10.20.0.0/16, to have it written there`;
    }
    // -network would be for one of several alone.
    const flags = `-store=embedded=${path} -networks=${network}`;
    return `${place}; write it, for example: flanneld config set ${flags} ` +
      `'{"Network": "10.20.0.0/16"}'`;
  },
  async open(options, { names, readOnly, owner }) {
    const { openEmbedded } = await import("./embedded.ts");
    const kv = openEmbedded(options.path, { readOnly, owner });
    if (names) return { kv, prefix: "" };
    const { network = UNNAMED_NETWORK, seed } = options;
    const { seedConfig } = await import("./seed.ts");
    return {
      kv,
      prefix: `/${network}`,
      ...(network === UNNAMED_NETWORK ? {} : { name: `${kv.name}, network ${network}` }),
      ...(owner && seed !== undefined ? { prepare: (store) => seedConfig(store, seed) } : {}),
    };
  },
};
