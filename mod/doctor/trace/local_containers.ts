import type { IPv4, Prefix } from "../../ip/mod.ts";
import { type Link, type Mac, Netlink, SysError } from "../../sys/mod.ts";

/** A container of this host, or another network namespace. */
export interface LocalContainer {
  readonly address: IPv4;
  readonly mac: Mac;
  /** Index of its veth's end on this host. */
  readonly port: number;
}

/** Largest number of namespaces to read; a host with more has containers among the first ones. */
const MOST_NAMESPACES = 256;

/**
 * Finds addresses of a prefix on the other ends of a bridge's ports, in the network namespaces of this host's
 * processes. Does not use Docker, and finds containers that have sent no packet yet.
 *
 * @param host the namespace of the bridge
 * @param bridge its index
 * @returns containers of readable namespaces: none without root
 */
export function localContainers(
  prefix: Prefix,
  host: Pick<Netlink, "links">,
  bridge: number,
): LocalContainer[] {
  const ports = host.links().filter(({ master }) => master === bridge);
  if (ports.length === 0) return [];
  const own = Deno.readLinkSync("/proc/thread-self/ns/net");
  const seen = new Set([own]);
  const found: LocalContainer[] = [];
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name) || seen.size > MOST_NAMESPACES) continue;
    const path = `/proc/${name}/ns/net`;
    try {
      const namespace = Deno.readLinkSync(path);
      if (seen.has(namespace)) continue;
      seen.add(namespace);
      found.push(...addressesIn(path, prefix, ports));
    } catch (error) {
      // The process has ended, or this process may not read it.
      const isGone = error instanceof SysError || error instanceof Deno.errors.NotFound ||
        error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotCapable;
      if (!isGone) throw error;
    }
  }
  return found;
}

function addressesIn(
  netns: string,
  prefix: Prefix,
  ports: readonly Link[],
): LocalContainer[] {
  using netlink = Netlink.open({ netns });
  return netlink.addresses().flatMap(({ index, address }) => {
    if (!prefix.contains(address)) return [];
    const link = netlink.linkByIndex(index);
    // Both ends have to know each other: another network may have the same addresses.
    const port = ports.find((port) => port.index === link?.peer && port.peer === index);
    return link?.mac === undefined || port === undefined
      ? []
      : [{ address, mac: link.mac, port: port.index }];
  });
}
