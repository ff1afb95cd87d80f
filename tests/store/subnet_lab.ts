/**
 * Lab for the algorithms on leases: both APIs of a real etcd.
 *
 * @module
 */
import { EtcdServer } from "../lab/etcd/etcd.ts";
import { EtcdGateway } from "../lab/etcd/etcd_gateway.ts";
import { EtcdKeys } from "../lab/etcd/etcd_keys.ts";
import { decodeNetworkConfig, type NetworkConfig } from "../../mod/config/mod.ts";
import { captureLog } from "../../mod/observe/testing/log_lab.ts";
import { openEtcdV2 } from "../../mod/store/testing/open_lab.ts";
import { openEtcdV3 } from "../../mod/store/testing/open_lab.ts";
import type { NetworkStore } from "../../mod/store/mod.ts";

/** Input of a case. */
export interface SubnetLab {
  readonly store: NetworkStore;
  /** The store again, as another agent opens it. */
  another(): Promise<NetworkStore>;
  /** Messages that were logged since the case began. */
  readonly log: readonly string[];
  /** Writes what no store would write, below the network's prefix. */
  putRaw(key: string, value: string): Promise<void>;
  /** Ends etcd; its data stay. */
  stop(): Promise<void>;
  resume(): Promise<void>;
}

/** A behaviour, named by a sentence that starts with the symbol, and what shows it. */
export type SubnetCase = readonly [name: string, run: (lab: SubnetLab) => Promise<void>];

/**
 * Registers the cases as steps of one test per store, each on a prefix of its own.
 *
 * @param symbol what the cases are about
 */
export function subnetCases(symbol: string, cases: readonly SubnetCase[]): void {
  for (const api of ["v2", "v3"] as const) {
    Deno.test(`${symbol} over etcd ${api}`, async (t) => {
      await using etcd = await EtcdServer.start({ v2: api === "v2" });
      const raw = api === "v2" ? new EtcdKeys(etcd) : new EtcdGateway(etcd);
      let number = 0;
      for (const [name, run] of cases) {
        const prefix = `/${api}/net${number++}`;
        const options = { endpoints: [etcd.endpoint], prefix, api };
        await t.step(name, async () => {
          using log = captureLog();
          await using stores = new AsyncDisposableStack();
          const another = async () =>
            stores.use(await (api === "v2" ? openEtcdV2(options) : openEtcdV3(options)));
          await run({
            store: await another(),
            another,
            log: log.lines,
            putRaw: (key, value) => raw.put(`${prefix}/${key}`, value),
            stop: () => etcd.stop(),
            resume: () => etcd.resume(),
          });
        });
      }
    });
  }
}

/** A network config, decoded as the agent does. */
export function config(text: Readonly<Record<string, unknown>>): Promise<NetworkConfig> {
  return decodeNetworkConfig(JSON.stringify(text));
}
