import { chooseDevice } from "../../backends/udp/device_name.ts";
import { udpOptions } from "../../backends/udp/options.ts";
import { vxlanOptions } from "../../backends/vxlan/options.ts";
import type { NetworkConfig } from "../config/mod.ts";
import type { ExternalInterface } from "../host/mod.ts";
import type { Prefix } from "../ip/mod.ts";
import type { Netlink } from "../sys/mod.ts";

/** How a backend carries packets between hosts, as far as it is looked at here. */
export interface Tunnel {
  /** Its device; absent where packets leave by the hosts' own interface. */
  readonly device?: string;
  /** UDP port at each host; absent where nothing is encapsulated. */
  readonly port?: number;
  /** For containers, in bytes; absent where only the backend knows it. */
  readonly mtu?: number;
}

/** The host that a tunnel is of, as {@linkcode tunnelOf} looks at it. */
export interface TunnelHost {
  readonly external: ExternalInterface;
  readonly netlink: Netlink;
  /** Networks that were served before this one, as far as is known. */
  readonly formerNetworks: readonly Prefix[];
  /** Other networks are served on it, or may be. */
  readonly besideOthers: boolean;
}

/**
 * Reads a network's tunnel off its config, and off the host's devices where the backend chooses among
 * them: the device that carries the network, or the one that an agent would take.
 *
 * @throws {ConfigError} for an option of the backend that cannot be used
 */
export function tunnelOf(config: NetworkConfig, host: TunnelHost): Tunnel {
  const { backend } = config;
  const { external: { mtu }, netlink } = host;
  switch (backend.type) {
    case "vxlan": {
      const options = vxlanOptions(backend.options, mtu);
      return { device: `flannel.${options.vni}`, port: options.port, mtu: options.mtu };
    }
    case "udp":
      return {
        device: chooseDevice(netlink, { config, ...host }, new Set()),
        ...udpOptions(backend.options, mtu),
      };
    case "host-gw":
    case "alloc":
    case "aws-vpc":
    case "gce":
      return { mtu };
    default:
      return {};
  }
}
