import { formatIPv4, type IPv4, Prefix } from "../../mod/ip/mod.ts";
import { ProviderError } from "../provider/errors.ts";
import type { CredentialChain } from "./credentials.ts";
import { EXPIRED, QueryError, type QueryParameters, sendQuery } from "./query_api.ts";
import { signRequest } from "./sigv4.ts";
import type { XmlElement } from "./xml.ts";

/** Version of the EC2 API that parameters and answers are of. */
const API_VERSION = "2016-11-15";

/** A network interface. */
export interface NetworkInterface {
  readonly id: string;
  readonly subnetId: string;
  readonly vpcId: string;
  /** Packets that are neither from nor to its own address are dropped. */
  readonly sourceDestCheck: boolean;
}

/** A route table. */
export interface Ec2RouteTable {
  readonly id: string;
  readonly vpcId: string;
  readonly routes: readonly Ec2Route[];
}

/** A route with an IPv4 destination. */
export interface Ec2Route {
  readonly destination: Prefix;
  /** Id of what it leads to: `eni-0a1b2c`, `local`, `igw-0a1b2c`. */
  readonly target: string;
  readonly state: "active" | "blackhole" | "filtered";
  /** Made by a call, so that another call can change it; not by the table itself or a gateway. */
  readonly isOwn: boolean;
}

/** Filter of a query: a name of EC2 and its allowed values. */
export type Ec2Filters = Readonly<Record<string, readonly string[]>>;

/** Dependencies of {@linkcode Ec2}. */
export interface Ec2Options {
  readonly url: URL;
  readonly region: string;
  readonly credentials: CredentialChain;
}

/** The calls of the EC2 API that routes need. Each is one attempt. */
export class Ec2 {
  readonly #options: Ec2Options;

  constructor(options: Ec2Options) {
    this.#options = options;
  }

  /** The interfaces that have a private address. */
  async findInterfaces(
    address: IPv4,
    instanceId: string | undefined,
    signal: AbortSignal,
  ): Promise<NetworkInterface[]> {
    const found = await this.#describe("DescribeNetworkInterfaces", "networkInterfaceSet", {
      "addresses.private-ip-address": [formatIPv4(address)],
      ...(instanceId === undefined ? {} : { "attachment.instance-id": [instanceId] }),
    }, signal);
    return found.map((item) => ({
      id: required(item, "networkInterfaceId"),
      subnetId: required(item, "subnetId"),
      vpcId: required(item, "vpcId"),
      sourceDestCheck: required(item, "sourceDestCheck") === "true",
    }));
  }

  /** Route tables by id, or by what they are of. */
  async describeRouteTables(
    which: { readonly ids: readonly string[] } | { readonly filters: Ec2Filters },
    signal: AbortSignal,
  ): Promise<Ec2RouteTable[]> {
    const found = "ids" in which
      ? await this.#describe("DescribeRouteTables", "routeTableSet", {}, signal, which.ids)
      : await this.#describe("DescribeRouteTables", "routeTableSet", which.filters, signal);
    return found.map((item) => ({
      id: required(item, "routeTableId"),
      vpcId: required(item, "vpcId"),
      routes: item.items("routeSet").flatMap(decodeRoute),
    }));
  }

  /** Makes a route to an interface. */
  async createRoute(
    tableId: string,
    destination: Prefix,
    interfaceId: string,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#changeRoute("CreateRoute", tableId, destination, interfaceId, signal);
  }

  /** Leads a route to an interface, without a moment in which there is none. */
  async replaceRoute(
    tableId: string,
    destination: Prefix,
    interfaceId: string,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      await this.#changeRoute("ReplaceRoute", tableId, destination, interfaceId, signal);
    } catch (error) {
      // "There is no route defined for '10.20.1.0/24' in the route table. Use CreateRoute instead."
      if (
        error instanceof QueryError && error.failure.code === "InvalidParameterValue" &&
        /no route/i.test(error.failure.message)
      ) throw new ProviderError("missing", error.message, { cause: error });
      throw error;
    }
  }

  async deleteRoute(tableId: string, destination: Prefix, signal: AbortSignal): Promise<void> {
    const parameters = { RouteTableId: tableId, DestinationCidrBlock: String(destination) };
    await this.#call("DeleteRoute", parameters, `route ${destination} of ${tableId}`, signal);
  }

  /** Lets an interface send and receive packets of other addresses than its own. */
  async disableSourceDestCheck(interfaceId: string, signal: AbortSignal): Promise<void> {
    await this.#call(
      "ModifyNetworkInterfaceAttribute",
      { NetworkInterfaceId: interfaceId, "SourceDestCheck.Value": "false" },
      `network interface ${interfaceId}`,
      signal,
    );
  }

  async #changeRoute(
    action: "CreateRoute" | "ReplaceRoute",
    tableId: string,
    destination: Prefix,
    interfaceId: string,
    signal: AbortSignal,
  ): Promise<void> {
    const parameters = {
      RouteTableId: tableId,
      DestinationCidrBlock: String(destination),
      NetworkInterfaceId: interfaceId,
    };
    await this.#call(action, parameters, `route table ${tableId}`, signal);
  }

  /** All items of a set, page by page. */
  async #describe(
    action: "DescribeNetworkInterfaces" | "DescribeRouteTables",
    set: string,
    filters: Ec2Filters,
    signal: AbortSignal,
    ids: readonly string[] = [],
  ): Promise<XmlElement[]> {
    const parameters: Record<string, string> = {};
    ids.forEach((id, i) => parameters[`RouteTableId.${i + 1}`] = id);
    Object.entries(filters).forEach(([name, values], i) => {
      parameters[`Filter.${i + 1}.Name`] = name;
      values.forEach((value, j) => parameters[`Filter.${i + 1}.Value.${j + 1}`] = value);
    });
    const found: XmlElement[] = [];
    for (let token: string | undefined = "";;) {
      const page = token === "" ? {} : { NextToken: token };
      const answer: XmlElement = await this.#call(action, { ...parameters, ...page }, "*", signal);
      found.push(...answer.items(set));
      token = answer.value("nextToken");
      if (token === undefined) return found;
    }
  }

  async #call(
    action: string,
    parameters: QueryParameters,
    resource: string,
    signal: AbortSignal,
  ): Promise<XmlElement> {
    const { url, region, credentials } = this.#options;
    const body = new URLSearchParams({ Action: action, Version: API_VERSION, ...parameters })
      .toString();
    for (let attempt = 1;; attempt++) {
      const { credentials: key, origin } = await credentials.get(signal);
      const headers = await signRequest(
        {
          ...{ method: "POST", url, body },
          headers: { "content-type": "application/x-www-form-urlencoded; charset=utf-8" },
        },
        key,
        { region, service: "ec2", time: new Date() },
      );
      const what = `ec2:${action} on ${resource}`;
      try {
        return await sendQuery({ url, headers, body, what, who: origin, signal });
      } catch (error) {
        if (!(error instanceof QueryError) || !EXPIRED.has(error.failure.code)) throw error;
        credentials.forget();
        if (attempt > 1) throw error;
      }
    }
  }
}

/** Elements that name a route's target, each with its own kind. */
const TARGETS = [
  ...["networkInterfaceId", "instanceId", "gatewayId", "natGatewayId", "transitGatewayId"],
  ...["vpcPeeringConnectionId", "localGatewayId", "carrierGatewayId", "coreNetworkArn"],
  ...["egressOnlyInternetGatewayId", "odbNetworkArn"],
];

/** Skips IPv6 routes and prefix lists. */
function decodeRoute(item: XmlElement): Ec2Route[] {
  const destination = Prefix.parse(item.value("destinationCidrBlock") ?? "");
  if (destination === undefined) return [];
  const state = item.value("state");
  return [{
    destination,
    // A blackhole may have lost it.
    target: TARGETS.map((name) => item.value(name)).find((id) => id !== undefined) ?? "nothing",
    state: state === "blackhole" || state === "filtered" ? state : "active",
    isOwn: item.value("origin") === "CreateRoute",
  }];
}

function required(item: XmlElement, name: string): string {
  const value = item.value(name);
  if (value !== undefined) return value;
  throw new ProviderError("unavailable", `an answer of EC2 lacks ${name} in ${item.name}`);
}
