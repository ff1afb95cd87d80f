import { formatIPv4, type IPv4, type Prefix } from "../../mod/ip/mod.ts";
import type { Backend } from "../backend.ts";
import { providerBackend } from "../provider/backend.ts";
import { ProviderError } from "../provider/errors.ts";
import type { ProviderRoute, RouteProvider, RouteTable, Survey } from "../provider/provider.ts";
import { CredentialChain, findRegion } from "./credentials.ts";
import { Ec2, type Ec2Route, type Ec2RouteTable, type NetworkInterface } from "./ec2.ts";
import { AwsEnvironment } from "./environment.ts";
import { limitWarning } from "./limits.ts";
import { InstanceMetadata } from "./metadata.ts";
import { awsVpcOptions } from "./options.ts";
import { QueryError } from "./query_api.ts";

/** Amazon's VPC: its router carries the packets, by a route to our network interface. */
export const awsVpcBackend: Backend = providerBackend({
  type: "aws-vpc",
  document: "docs/backends/aws.md",
  readOptions: awsVpcOptions,
  async open({ config, external }, signal) {
    const { routeTableIds } = awsVpcOptions(config.backend.options);
    const env = new AwsEnvironment();
    const metadata = new InstanceMetadata(env);
    const region = await findRegion(env, metadata, signal);
    const url = env.endpoint("ec2", region);
    if (url === undefined) {
      throw new ProviderError(
        "unsuitable",
        "AWS_ENDPOINT_URL_EC2 or AWS_ENDPOINT_URL is not a URL",
      );
    }
    return new AwsVpc({
      ec2: new Ec2({ url, region, credentials: new CredentialChain(env, metadata) }),
      // Without it an address has to do, which VPCs may share.
      instanceId: metadata.isDisabled ? undefined : await metadata.get("instance-id", signal),
      address: external.address,
      routeTableIds,
    });
  },
});

/** Dependencies of {@linkcode AwsVpc}. */
interface AwsVpcParts {
  readonly ec2: Ec2;
  readonly instanceId: string | undefined;
  /** Of the external interface, which its EC2 interface has, too. */
  readonly address: IPv4;
  readonly routeTableIds: readonly string[];
}

class AwsVpc implements RouteProvider {
  readonly #parts: AwsVpcParts;
  /** Of the latest survey. */
  #interfaceId = "";

  constructor(parts: AwsVpcParts) {
    this.#parts = parts;
  }

  async survey(signal: AbortSignal): Promise<Survey> {
    const own = await this.#findInterface(signal);
    const tables = await this.#findTables(own, signal);
    this.#interfaceId = own.id;
    const foreign = tables.find(({ vpcId }) => vpcId !== own.vpcId);
    if (foreign !== undefined) {
      throw new ProviderError(
        "unsuitable",
        `Backend.RouteTableID ${foreign.id} is a table of ${foreign.vpcId}, and ${own.id} is in ` +
          own.vpcId,
      );
    }
    return {
      self: own.id,
      tables: tables.map(({ id, routes }) => ({
        id,
        routes: routes.map((route) => describeRoute(route, own.id)),
      })),
      settings: own.sourceDestCheck
        ? [{
          before: `source/destination check of ${own.id} on`,
          after: `source/destination check of ${own.id} off`,
          apply: (signal) => this.#parts.ec2.disableSourceDestCheck(own.id, signal),
        }]
        : [],
      obstacles: tables.flatMap(({ id, routes }) => limitWarning(id, routes) ?? []),
    };
  }

  async create({ id }: RouteTable, destination: Prefix, signal: AbortSignal): Promise<void> {
    await this.#parts.ec2.createRoute(id, destination, this.#interfaceId, signal);
  }

  async replace({ id }: RouteTable, route: ProviderRoute, signal: AbortSignal): Promise<void> {
    await this.#parts.ec2.replaceRoute(id, route.destination, this.#interfaceId, signal);
  }

  async remove({ id }: RouteTable, route: ProviderRoute, signal: AbortSignal): Promise<void> {
    await this.#parts.ec2.deleteRoute(id, route.destination, signal);
  }

  async #findInterface(signal: AbortSignal): Promise<NetworkInterface> {
    const { ec2, address, instanceId } = this.#parts;
    const found = await ec2.findInterfaces(address, instanceId, signal);
    const where = instanceId === undefined ? "" : ` of instance ${instanceId}`;
    const text = formatIPv4(address);
    if (found.length === 0) {
      throw new ProviderError(
        "unsuitable",
        `unable to find ENI that matches the ${text} IP address${where}: the address of the ` +
          "external interface (-iface) must be one that EC2 gave it",
      );
    }
    if (found.length > 1) {
      throw new ProviderError(
        "unsuitable",
        `${
          found.map(({ id }) => id).join(" and ")
        } have the address ${text}; without the instance ` +
          "metadata service this host's instance is unknown",
      );
    }
    return found[0]!;
  }

  async #findTables(
    { subnetId, vpcId }: NetworkInterface,
    signal: AbortSignal,
  ): Promise<readonly Ec2RouteTable[]> {
    const { ec2, routeTableIds } = this.#parts;
    if (routeTableIds.length > 0) {
      try {
        return await ec2.describeRouteTables({ ids: routeTableIds }, signal);
      } catch (error) {
        if (!(error instanceof QueryError)) throw error;
        const { code, message } = error.failure;
        if (code !== "InvalidRouteTableID.NotFound") throw error;
        throw new ProviderError("unsuitable", `Backend.RouteTableID: ${message}`, { cause: error });
      }
    }
    const bySubnet = { "association.subnet-id": [subnetId] };
    const associated = await ec2.describeRouteTables({ filters: bySubnet }, signal);
    if (associated.length > 0) return associated;
    const byVpc = { "association.main": ["true"], "vpc-id": [vpcId] };
    const main = await ec2.describeRouteTables({ filters: byVpc }, signal);
    if (main.length > 0) return main;
    throw new ProviderError(
      "unsuitable",
      `main route table not found in ${vpcId}, and ${subnetId} has none of its own; name one with ` +
        "RouteTableID in the config's Backend",
    );
  }
}

function describeRoute(
  { destination, target, state, isOwn }: Ec2Route,
  self: string,
): ProviderRoute {
  return {
    destination,
    target: state === "blackhole" ? "gone" : target === self ? "own" : "other",
    via: target,
    isFixed: !isOwn,
  };
}
