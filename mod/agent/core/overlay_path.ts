import type { Ingress } from "../../../backends/backend.ts";
import type { OverlayPath } from "../../firewall/mod.ts";
import type { ExternalInterface } from "../../host/mod.ts";
import { type IPv4, Prefix } from "../../ip/mod.ts";
import type { Lease } from "../../lease/mod.ts";
import type { Netlink } from "../../sys/mod.ts";
import { containerBridge } from "../host/containers.ts";

/** Largest number of hosts outside the interface's own prefix to list by address; with more, none is listed. */
const MOST_HOSTS = 32;

/** Number of peers whose packets the firewall check simulates. */
const MOST_PEERS = 8;

/** Input of {@linkcode overlayPath}. */
export interface OverlayHost {
  readonly ingress: Ingress;
  readonly external: ExternalInterface;
  readonly netlink: Pick<Netlink, "links" | "addresses">;
  /** This host's subnet. */
  readonly subnet: Prefix;
  /** Public IPs of the other hosts. */
  readonly peers: readonly IPv4[];
}

/** Returns how the network's packets enter this host, for the firewall, from the kernel's present state. */
export function overlayPath(
  { ingress, external, netlink, subnet, peers }: OverlayHost,
): OverlayPath {
  const { name, index, address } = external;
  const own = netlink.addresses({ index }).find((one) => one.address === address);
  const prefix = new Prefix(address, own?.prefixLength ?? 32);
  const beyond = peers.filter((peer) => !prefix.contains(peer));
  const hosts = beyond.length > MOST_HOSTS
    ? []
    : [prefix, ...beyond.map((peer) => new Prefix(peer, 32))];
  return {
    external: { name, address },
    hosts,
    peers: peers.length > 0 ? peers.slice(0, MOST_PEERS) : [neighbour(prefix, address)],
    ...{ device: ingress.device, port: ingress.port },
    isDirect: ingress.underlay !== undefined,
    bridge: containerBridge(netlink, subnet)?.link.name,
  };
}

/** Returns an address that the first other host may have. */
function neighbour(prefix: Prefix, address: IPv4): IPv4 {
  return address < prefix.last ? address + 1 : address - 1;
}

/** Returns the public IPs of leases other than this host's. */
export function peersBeside(
  { attributes: { publicIP } }: Pick<Lease, "attributes">,
  leases: Iterable<Lease>,
): IPv4[] {
  return Array.from(leases, ({ attributes }) => attributes.publicIP)
    .filter((peer) => peer !== publicIP);
}
