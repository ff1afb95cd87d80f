import { findConfigs, type FoundConfig } from "../../store/etcd/find_configs.ts";
import type { EtcdStoreOptions } from "../../store/options.ts";
import { atMost, type Check, type Finding, ok, problem, Unavailable } from "../check.ts";
import { truncate } from "../../text/mod.ts";
import type { HostFacts } from "../host_facts.ts";

/** Checks whether there is a config under the agent's prefix. The guide's first error is another prefix. */
export const prefixCheck: Check = {
  id: "prefix",
  title: "a network config is where it is looked for",
  async run(host) {
    const found = await host.storeSearch();
    if ("error" in found) throw new Unavailable("the store is not reached");
    const { store } = host.options;
    if ("waiting" in found) return await missing(host, found.waiting);
    const { config } = await host.snapshot();
    if (!("text" in config)) return await missing(host, config.missing);
    return ok(store.kind === "etcd" ? `${store.prefix}/config` : found.store.name);
  },
};

async function missing({ options, signal }: HostFacts, words: string): Promise<Finding> {
  const { store, networkName } = options;
  if (store.kind !== "etcd") {
    const where = store.kind === "remote" ? "   # on the server's host, with its flags" : "";
    const named = networkName === undefined ? "" : `-networks=${networkName} `;
    const fix = [`flanneld config set ${named}'{"Network": "10.20.0.0/16"}'${where}`];
    return problem(`there is no network config: ${words}`, { fix });
  }
  const configs = await findConfigs(store, { signal });
  const own = configs.find(({ prefix }) => prefix === store.prefix);
  const evidence = [
    words,
    ...atMost(
      configs.map(({ api, prefix, text }) =>
        `etcd ${api} holds one at prefix ${prefix}: ${cut(text)}`
      ),
    ),
  ];
  return problem(`there is no network config at ${store.prefix}/config`, {
    evidence: configs.length > 0 ? evidence : [words, "no prefix of either API holds one"],
    fix: own !== undefined ? [`take it from etcd ${own.api}: ${flag(own)}`] : fixes(store, configs),
  });
}

function fixes(store: EtcdStoreOptions, configs: readonly FoundConfig[]): string[] {
  if (configs.length > 0) {
    return configs.slice(0, 4).map(({ prefix }) =>
      `FLANNEL_ETCD_PREFIX="${prefix}" in /etc/sysconfig/flanneld, then systemctl restart flanneld`
    );
  }
  const endpoints = store.endpoints.map((url) => URL.parse(url)?.origin ?? url).join(",");
  return [
    `flanneld config set -etcd-endpoints=${endpoints} -etcd-prefix=${store.prefix} ` +
    `-etcd-api=${store.api === "v2" ? "v2" : "v3"} ` +
    `'{"Network": "10.20.0.0/16", "Backend": {"Type": "vxlan"}}'`,
  ];
}

function flag({ api }: FoundConfig): string {
  return `-etcd-api=${api} in FLANNEL_OPTIONS, or leave -etcd-api out`;
}

function cut(text: string): string {
  const line = text.replaceAll(/\s+/g, " ");
  return truncate(line, 100);
}
