import type { ReadChain } from "./chain_walk.ts";
import { DOCKER_TABLE } from "../docker/docker_bridges.ts";
import type { NftBaseChain } from "../nftables/nft_format.ts";
import { isOwnTable } from "../nftables/nft_plan.ts";
import type { ReadTable } from "./obstacles.ts";
import { readIptables } from "../iptables/read_iptables.ts";
import { FORWARD_CHAIN, ownChains } from "../rules.ts";
import type { Tools } from "../tools.ts";
import type { FirewallSpec } from "../firewall_spec.ts";

/** Reads the tables of other programs that filter packets to or through this host. */
export async function readTables(tools: Tools, spec: FirewallSpec): Promise<ReadTable[]> {
  return [...await readNftablesTables(tools, spec), ...await readIptablesTables(tools, spec)];
}

async function readNftablesTables(
  { nftables, complete }: Tools,
  { ingress }: FirewallSpec,
): Promise<ReadTable[]> {
  // In Docker's table flanneld accepts what is for this host's containers.
  const isOwn = (table: string) =>
    isOwnTable(table) || (ingress !== undefined && table === DOCKER_TABLE);
  const bases = Map.groupBy(
    (await nftables?.baseChains() ?? []).filter((chain) =>
      filters(chain) && !isOwn(tableOf(chain)) && !(complete && isIptables(chain))
    ),
    tableOf,
  );
  return await Promise.all([...bases].map(async ([name, list]): Promise<ReadTable> => ({
    ...{ program: "nft", name, chains: await nftables!.chains(name) },
    bases: {
      input: list.filter(({ hook }) => hook === "input").map(({ name }) => name),
      forward: list.filter(({ hook }) => hook === "forward").map(({ name }) => name),
    },
  })));
}

async function readIptablesTables(
  { iptables }: Tools,
  { tag }: FirewallSpec,
): Promise<ReadTable[]> {
  const own = ownChains(tag).find(({ parent }) => parent === FORWARD_CHAIN.parent)!.name;
  return await Promise.all(iptables.map(async (tool): Promise<ReadTable> => {
    const table = (await tool.save()).get(FORWARD_CHAIN.table);
    const chains: Map<string, ReadChain> = table === undefined ? new Map() : readIptables(table);
    return {
      ...{ program: tool.name, name: `ip ${FORWARD_CHAIN.table}`, chains },
      bases: {
        input: chains.has("INPUT") ? ["INPUT"] : [],
        // Without flanneld's chain the policy is not an obstacle: `ensure()` adds the chain.
        forward: chains.has(own) ? [FORWARD_CHAIN.parent] : [],
      },
    };
  }));
}

function tableOf({ family, table }: NftBaseChain): string {
  return `${family} ${table}`;
}

function filters({ family, type, hook }: NftBaseChain): boolean {
  return (family === "ip" || family === "inet") && type === "filter" &&
    (hook === "input" || hook === "forward");
}

/** iptables' own chains, at NF_IP_PRI_FILTER, which iptables-save lists. */
function isIptables({ family, table, name, priority }: NftBaseChain): boolean {
  return family === "ip" && table === "filter" && priority === 0 &&
    (name === "INPUT" || name === "FORWARD");
}
