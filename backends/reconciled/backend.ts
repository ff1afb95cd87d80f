import type { GoObject } from "../../mod/config/mod.ts";
import type { Lease } from "../../mod/lease/mod.ts";

import type { Backend, BackendContext, Inspection } from "../backend.ts";
import { HostRoutes } from "../host_routes.ts";
import { DirectPeers, isReachedDirectly, linkPrefixes } from "./direct_peers.ts";
import { type Driver, type PeerContext, peerObjects, peerRefusal } from "./driver.ts";
import { ReconciledNetwork } from "./network.ts";
import { describePeer } from "./steps.ts";
import { RT_TABLE_MAIN } from "../../mod/sys/linux_constants.ts";

/** The network and the host that a driver is made for. */
export type DriverContext = Pick<BackendContext, "config" | "external" | "formerData" | "vxlan">;

/** Parts of a backend that makes kernel objects only. */
export interface ReconciledParts<Options extends { readonly mtu: number }>
  extends Pick<Backend, "resources" | "deviceNumber"> {
  /** Value of `Backend.Type`, lower case, and of `BackendType` in leases. */
  readonly type: string;
  /**
   * Reads the backend's options.
   *
   * @param interfaceMtu of the external interface, in bytes
   * @throws {ConfigError} for a bad option
   */
  readOptions(options: GoObject, interfaceMtu: number): Options;
  /** Returns the driver of one network. Changes nothing. */
  driver(context: DriverContext, options: Options): Driver;
  /**
   * Called before a network is prepared.
   *
   * @throws {ConfigError} where the host cannot serve
   */
  checkHost?(context: DriverContext): void;
}

/** A backend of kernel objects alone. */
export interface ReconciledBackend extends Backend {
  /** Returns the driver of one network. Changes nothing. @throws {ConfigError} for a bad option */
  driver(context: DriverContext): Driver;
}

/** Returns the backend of a driver: all that backends of kernel objects have in common. */
export function reconciledBackend<Options extends { readonly mtu: number }>(
  parts: ReconciledParts<Options>,
): ReconciledBackend {
  const driverOf = (context: DriverContext) => {
    const { config, external } = context;
    return parts.driver(context, parts.readOptions(config.backend.options, external.mtu));
  };
  return {
    ...{ type: parts.type, leaseType: parts.type, changesKernel: true },
    ...(parts.resources === undefined ? {} : { resources: parts.resources }),
    ...(parts.deviceNumber === undefined ? {} : { deviceNumber: parts.deviceNumber }),
    driver: driverOf,
    mtuFor: (options, interfaceMtu) => parts.readOptions(options, interfaceMtu).mtu,
    // deno-lint-ignore require-await -- a bad option is to be a rejection, as the interface requires
    async prepare(context) {
      parts.checkHost?.(context);
      return new ReconciledNetwork(parts, driverOf(context), context);
    },
    inspect: (context) => inspect(parts.type, driverOf(context), context),
  };
}

function inspect(type: string, driver: Driver, context: BackendContext): Inspection {
  const { config, external, netlink } = context;
  const device = driver.device && netlink.link(driver.device.name);
  const direct = new DirectPeers((address) => isReachedDirectly(netlink, external.index, address));
  let host: Pick<PeerContext, "host" | "link"> | undefined;
  const peerContext = (own: Lease): PeerContext => {
    host ??= {
      host: HostRoutes.read(config.network, netlink),
      link: linkPrefixes(netlink.routes({ table: RT_TABLE_MAIN }), external.index),
    };
    return {
      ...{ config, own, external, publicIP: external.publicIP, ...host },
      ...{ device: device?.index ?? 0, mac: device?.mac },
      isDirect: (address) => (driver.directRouting ?? false) && direct.has(address),
    };
  };
  return {
    tunnel: {
      mtu: driver.mtu,
      ...(driver.device === undefined ? {} : { device: driver.device.name }),
      ...driver.encapsulation,
    },
    refusal: (lease, own) => peerRefusal(type, driver, lease, peerContext(own)),
    describe: (lease, own, address) =>
      describePeer({
        ...{ type, driver, netlink, external, lease, address },
        objects: peerObjects(driver, lease, peerContext(own)),
      }),
    foreignLeaseReason: (lease) => device && driver.foreignLeaseReason?.(lease, device),
  };
}
