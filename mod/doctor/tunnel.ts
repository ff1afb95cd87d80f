import { udpOptions } from "../../backends/udp/options.ts";
import { vxlanOptions } from "../../backends/vxlan/options.ts";
import type { NetworkConfig } from "../config/mod.ts";
import type { ExternalInterface } from "../host/mod.ts";

/** How a backend carries packets between hosts, as far as it is looked at here. */
export interface Tunnel {
  /** Its device; absent where packets leave by the hosts' own interface. */
  readonly device?: string;
  /** UDP port at each host; absent where nothing is encapsulated. */
  readonly port?: number;
  /** For containers, in bytes; absent where only the backend knows it. */
  readonly mtu?: number;
}

/** Device of the udp backend. */
const UDP_DEVICE = "flannel0";

/**
 * Reads a network's tunnel off its config.
 *
 * @throws {ConfigError} for an option of the backend that cannot be used
 */
export function tunnelOf({ backend }: NetworkConfig, { mtu }: ExternalInterface): Tunnel {
  switch (backend.type) {
    case "vxlan": {
      const options = vxlanOptions(backend.options, mtu);
      return { device: `flannel.${options.vni}`, port: options.port, mtu: options.mtu };
    }
    case "udp":
      return { device: UDP_DEVICE, ...udpOptions(backend.options, mtu) };
    case "host-gw":
    case "alloc":
    case "aws-vpc":
    case "gce":
      return { mtu };
    default:
      return {};
  }
}
