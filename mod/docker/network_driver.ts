import { formatIPv4, gatewayOf } from "../ip/mod.ts";
import { info } from "../observe/mod.ts";
import type { Calls } from "./calls.ts";
import { DockerPluginError } from "./errors.ts";
import { bridgeName, type DockerLinks, endNames, macOf } from "./kernel.ts";
import { type HostLeases, leaseOf } from "./leases.ts";
import { id, type JsonObject } from "./protocol/fields.ts";
import {
  readEndpoint,
  readNewEndpoint,
  readNewNetwork,
  requireNoPorts,
} from "./protocol/network.ts";

/** libnetwork's type of routes with a gateway. */
const NEXT_HOP = 0;

/** Connects containers to the bridge of their Docker network. */
export class NetworkDriver {
  readonly #leases: HostLeases;
  readonly #links: DockerLinks;

  constructor(leases: HostLeases, links: DockerLinks) {
    this.#leases = leases;
    this.#links = links;
  }

  readonly calls: Calls = {
    // Each host has its own networks: dockerd need not share them by a store of its own.
    GetCapabilities: () => ({ Scope: "local", ConnectivityScope: "local" }),
    CreateNetwork: (from) => this.#createNetwork(from),
    DeleteNetwork: (from) => this.#deleteNetwork(from),
    CreateEndpoint: (from) => this.#createEndpoint(from),
    EndpointOperInfo: () => ({ Value: {} }),
    DeleteEndpoint: (from) => {
      this.#links.removeEndpoint(readEndpoint(from).endpointId);
      this.#links.removeFormerGateways(this.#leases.present.map(({ subnet }) => subnet));
      return {};
    },
    Join: (from) => this.#join(from),
    // The interface stays until DeleteEndpoint, which dockerd sends next.
    Leave: () => ({}),
    ProgramExternalConnectivity: (from) => {
      requireNoPorts(from);
      return {};
    },
    RevokeExternalConnectivity: () => ({}),
    DiscoverNew: () => ({}),
    DiscoverDelete: () => ({}),
  };

  async #createNetwork(from: JsonObject): Promise<object> {
    const { networkId, pool } = readNewNetwork(from);
    const { mtu } = leaseOf(
      await this.#leases.wanted(),
      pool,
      "add --ipam-driver flannel, or --subnet with a part of the lease",
    );
    this.#links.ensureBridge(networkId, pool, mtu);
    const name = networkId.slice(0, 12);
    info(`Docker network ${name} created: ${pool} on ${bridgeName(networkId)}`);
    return {};
  }

  #deleteNetwork(from: JsonObject): object {
    const networkId = id(from, "NetworkID");
    if (this.#links.removeBridge(networkId)) {
      info(`Docker network ${networkId.slice(0, 12)} removed`);
    }
    return {};
  }

  async #createEndpoint(from: JsonObject): Promise<object> {
    const endpoint = readNewEndpoint(from);
    const { networkId, address, pool } = endpoint;
    const advice = "create the Docker network again";
    const { mtu } = leaseOf(await this.#leases.wanted(), pool, advice);
    // After a boot, or a change of the lease, the bridge is not there, or without this gateway.
    const bridge = this.#links.ensureBridge(networkId, pool, mtu);
    this.#links.createEndpoint(endpoint, bridge, mtu);
    return { Interface: endpoint.mac === "" ? { MacAddress: macOf(address) } : {} };
  }

  #join(from: JsonObject): object {
    const { endpointId } = readEndpoint(from);
    const address = this.#links.endpointAddress(endpointId);
    if (address === undefined) {
      throw new DockerPluginError(
        `endpoint ${
          endpointId.slice(0, 12)
        } has no interface on this host; start the container again`,
      );
    }
    const gateway = formatIPv4(gatewayOf(address.pool));
    const lease = this.#leases.present.find(({ subnet }) => subnet.containsPrefix(address.pool));
    return {
      InterfaceName: { SrcName: endNames(endpointId).container, DstPrefix: "eth" },
      Gateway: gateway,
      // The default route may be another network's, where the container has several.
      StaticRoutes: lease === undefined
        ? []
        : [{ Destination: String(lease.network), RouteType: NEXT_HOP, NextHop: gateway }],
    };
  }
}
