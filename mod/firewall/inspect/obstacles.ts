import type { IPv4, Prefix } from "../../ip/mod.ts";
import { type Drop, findDrop, type ProbePacket, type ReadChain } from "./chain_walk.ts";
import {
  type FirewalldObjects,
  type HostTool,
  hostToolOf,
  mergeCommands,
  type Opening,
  openingCommands,
} from "./host_tool.ts";
import type { FirewallSpec } from "../firewall_spec.ts";

/** How packets of the network get into this host and to its containers. */
export interface OverlayPath {
  /** Interface to the other hosts, and its address. */
  readonly external: { readonly name: string; readonly address: IPv4 };
  /** Prefixes of the other hosts' addresses; empty for any address. */
  readonly hosts: readonly Prefix[];
  /** Some of the other hosts' addresses. */
  readonly peers: readonly IPv4[];
  /** The tunnel's device; absent without a tunnel. */
  readonly device?: string | undefined;
  /** UDP port of the tunnel; absent where its datagrams do not pass the firewall. */
  readonly port?: number | undefined;
  /** Packets come, or may come, from {@linkcode OverlayPath.hosts} without a tunnel. */
  readonly isDirect: boolean;
  /** The containers' bridge; absent when there is none yet. */
  readonly bridge?: string | undefined;
}

/** Something on this host that drops the network's packets, and is not flanneld's to change. */
export interface Obstacle {
  /** Whether packets to this host are dropped, or forwarded ones. */
  readonly hook: ProbePacket["hook"];
  /** Program that manages the chain; absent when it is unknown. */
  readonly tool?: HostTool | undefined;
  /** One line, without what to do. */
  readonly text: string;
  /** Lets the packets through; in the words of the tool that owns the chain. */
  readonly commands: readonly string[];
}

/** One table with filters of the host. */
export interface ReadTable {
  /** Program that reads and changes it: `nft`, or an iptables such as `iptables-legacy`. */
  readonly program: string;
  /** Family and name: `inet firewalld`. */
  readonly name: string;
  readonly chains: ReadonlyMap<string, ReadChain>;
  /** Base chains by hook. */
  readonly bases: Readonly<Record<ProbePacket["hook"], readonly string[]>>;
}

/** An obstacle with what to do, in one line. */
export function describeObstacle({ text, commands }: Obstacle): string {
  return commands.length === 0 ? text : `${text}; run: ${commands.join(" && ")}`;
}

/** A port that no rule names by itself. */
const ANY_PORT = 63_999;

/** The tools whose chains stand in one of the tables. */
export function hostToolsIn(tables: readonly ReadTable[]): HostTool[] {
  const found = tables.flatMap(({ name, chains }) =>
    [...chains.keys()].map((chain) => hostToolOf(placeOf(name, chain), chains.keys()))
  );
  return [...new Set(found)].filter((tool) => tool !== undefined);
}

/**
 * Finds what drops the network's packets for certain.
 *
 * @param path `undefined` when not known: devices then match no rule for certain
 * @param firewalld what firewalld has already
 */
export function findObstacles(
  tables: readonly ReadTable[],
  spec: Pick<FirewallSpec, "network" | "subnet" | "forward">,
  path: OverlayPath | undefined,
  firewalld?: FirewalldObjects,
): Obstacle[] {
  const obstacles = new Map<string, Obstacle>();
  for (const table of tables) {
    for (const packet of packetsOf(spec, path)) {
      for (const base of table.bases[packet.hook]) {
        const drop = findDrop(table.chains, base, packet);
        if (drop === undefined) continue;
        const tool = hostToolOf(placeOf(table.name, drop.chain), table.chains.keys());
        // Its commands name the bridge, and there is none.
        if (tool === "firewalld" && packet.hook === "forward" && !path?.bridge) continue;
        const key = `${packet.hook} ${tool ?? `${table.program} ${table.name} ${drop.chain}`}`;
        if (obstacles.has(key)) continue;
        const openings = openingsOf(packet.hook, spec, path, { zone: zoneOf(drop), firewalld });
        obstacles.set(key, {
          ...{ hook: packet.hook, tool },
          text: describe(table, drop, tool, packet, spec.network),
          commands: tool === undefined
            ? plainCommands(table, drop, openings)
            : mergeCommands(openings.map((opening) => openingCommands(tool, opening))),
        });
      }
    }
  }
  return [...obstacles.values()];
}

/** The packets that have to be let through, as {@linkcode openingCommands} takes them. */
export function openingsOf(
  hook: ProbePacket["hook"],
  { network }: Pick<FirewallSpec, "network">,
  path: OverlayPath | undefined,
  { zone, firewalld }: { zone?: string | undefined; firewalld?: FirewalldObjects | undefined } = {},
): Opening[] {
  const hosts = path === undefined || path.hosts.length === 0 ? [undefined] : path.hosts;
  if (hook === "input") {
    if (path?.port === undefined) return [];
    const { port } = path;
    return hosts.map((hosts) => ({ hook, port, hosts, zone }));
  }
  const { bridge } = path ?? {};
  if (!path?.isDirect) return [{ hook, network, bridge, firewalld }];
  return hosts.map((hosts) => ({ hook, network, hosts, bridge, firewalld }));
}

/** The packets whose fate is read. */
function packetsOf(
  { network, subnet, forward }: Pick<FirewallSpec, "network" | "subnet" | "forward">,
  path: OverlayPath | undefined,
): ProbePacket[] {
  const here = subnet.address + 2;
  const there = addressBeside(subnet, network);
  const inbound = { hook: "forward", destination: here, protocol: "tcp", port: ANY_PORT } as const;
  if (path === undefined) return forward ? [{ ...inbound, source: there }] : [];
  const { external, device, port, bridge, peers, isDirect } = path;
  const packets: ProbePacket[] = [];
  if (port !== undefined) {
    const destination = external.address;
    packets.push(...peers.map((source): ProbePacket => ({
      ...{ hook: "input", inDevice: external.name, outDevice: "" },
      ...{ source, destination, protocol: "udp", port },
    })));
  }
  if (!forward) return packets;
  const way = device ?? external.name;
  packets.push(
    { ...inbound, inDevice: way, outDevice: bridge, source: there },
    { ...inbound, inDevice: bridge, outDevice: way, source: here, destination: there },
  );
  // Those of hosts that are not listed cannot be let in by name.
  if (isDirect && path.hosts.length > 0) {
    packets.push(...peers.map((source) => ({
      ...{ ...inbound, inDevice: external.name, outDevice: bridge, source },
    })));
  }
  return packets;
}

/** An address of the network that is not of this host. */
function addressBeside(subnet: Prefix, network: Prefix): IPv4 {
  const after = subnet.last + 3;
  return after <= network.last
    ? after
    : subnet.address > network.address
    ? subnet.address - 2
    : after;
}

function describe(
  { program, name, chains }: ReadTable,
  { chain, byPolicy }: Drop,
  tool: HostTool | undefined,
  { hook, inDevice, outDevice, port }: ProbePacket,
  network: Prefix,
): string {
  const place = program === "nft"
    ? `nftables chain "${name} ${chain}"`
    : `${program} chain "${chain}"`;
  const who = tool === undefined ? place : `${tool} (${place})`;
  const way = inDevice && outDevice ? ` from ${inDevice} to ${outDevice}` : "";
  const what = hook === "input"
    ? `UDP packets to port ${port} of this host`
    : `forwarded packets of ${network}${way}`;
  const how = byPolicy && (chains.get(chain)?.rules.length ?? 0) > 0
    ? ", which none of its rules accepts"
    : "";
  return `${who} drops ${what}${how}`;
}

/** Commands for chains that no known tool owns. */
function plainCommands(
  { program, name, chains }: ReadTable,
  { chain }: Drop,
  openings: readonly Opening[],
): string[] {
  return openings.flatMap((opening) => {
    if (program === "nft") {
      const insert = `nft insert rule ${name} ${chain}`;
      if (opening.hook === "forward") {
        const { network } = opening;
        return [`${insert} ip saddr ${network} accept`, `${insert} ip daddr ${network} accept`];
      }
      const { hosts, port } = opening;
      const from = hosts === undefined ? "" : `ip saddr ${hosts} `;
      return [`${insert} ${from}udp dport ${port} accept`];
    }
    if (opening.hook === "input") {
      const { hosts, port } = opening;
      const from = hosts === undefined ? "" : `-s ${hosts} `;
      return [`${program} -I INPUT ${from}-p udp --dport ${port} -j ACCEPT`];
    }
    // Docker keeps the rules of this chain, and comes to it first.
    const target = chains.has("DOCKER-USER") ? "DOCKER-USER" : "FORWARD";
    const { network, hosts } = opening;
    return [network, ...(hosts === undefined ? [] : [hosts])]
      .map((source) => `${program} -I ${target} -s ${source} -d ${network} -j ACCEPT`);
  }).filter((command, i, all) => all.indexOf(command) === i);
}

/** The zone of firewalld that the packet was found to be in. */
function zoneOf({ path }: Drop): string | undefined {
  for (const chain of path) {
    const zone = /^(?:filter_)?IN_(?!policy_)(.+)$/.exec(chain)?.[1];
    if (zone !== undefined) return zone;
  }
  return undefined;
}

function placeOf(table: string, name: string) {
  const [family, ...rest] = table.split(" ") as [string, ...string[]];
  return { family, table: rest.join(" "), name };
}
