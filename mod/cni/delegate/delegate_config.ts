import type { JsonValue } from "../../lease/lease.ts";
import type { PluginConfig } from "../config.ts";
import { CniError, Code } from "../errors.ts";
import { isObject, type JsonObject } from "../json.ts";
import type { SubnetFile } from "../subnet_file.ts";

/** The plugin that connects containers, unless `delegate.type` names another. */
const DEFAULT_TYPE = "bridge";
/** The plugin that leases addresses, unless `ipam.type` names another. */
const DEFAULT_IPAM = "host-local";

/** Name of an executable, without a directory. */
const PLUGIN_TYPE = /^[^/\0]+$/;

/**
 * Generates the delegate's configuration, as upstream flannel's plugin does.
 *
 * @throws {CniError} 7 when `delegate.type` or `ipam.routes` cannot be used
 */
export function delegateConfig(config: PluginConfig, subnet: SubnetFile): JsonObject {
  const { delegate, ipam, runtimeConfig } = config;
  const type = typeOf(delegate);
  return {
    mtu: subnet.mtu,
    ipMasq: !subnet.ipMasq,
    ...type === DEFAULT_TYPE ? { isGateway: true } : {},
    ...delegate,
    ...runtimeConfig === undefined ? {} : { runtimeConfig },
    ...{ name: config.name, type, cniVersion: config.cniVersion },
    ipam: {
      type: DEFAULT_IPAM,
      ...ipam,
      ranges: subnet.subnets.map((subnet) => [{ subnet }]),
      routes: [...routesOf(ipam), ...subnet.networks.map((dst) => ({ dst }))],
    },
  };
}

/**
 * Returns the plugin that a configuration is for.
 *
 * @throws {CniError} 7 when `type` is no name
 */
export function typeOf({ type = DEFAULT_TYPE }: JsonObject): string {
  if (typeof type === "string" && PLUGIN_TYPE.test(type)) return type;
  throw new CniError(
    Code.INVALID_CONFIG,
    `delegate.type is no name of a plugin: ${JSON.stringify(type)}`,
    "write a name such as bridge, without a directory",
  );
}

/**
 * Names the gateway in routes of a result that have none. bridge installs such a route by the gateway of the address,
 * and its CHECK then misses the route without one.
 */
export function withGateways(result: JsonObject): JsonObject {
  const { ips, routes } = result;
  if (!Array.isArray(ips) || !Array.isArray(routes)) return result;
  const isIPv6 = (text: JsonValue | undefined) => String(text).includes(":");
  const gatewayFor = ({ dst }: JsonObject) =>
    ips.find((ip) => isObject(ip) && isText(ip.gateway) && isIPv6(ip.gateway) === isIPv6(dst))
      ?.gateway;
  return {
    ...result,
    routes: routes.map((route) => {
      if (!isObject(route) || route.gw) return route;
      const gw = gatewayFor(route);
      return gw === undefined ? route : { ...route, gw };
    }),
  };
}

function routesOf({ routes }: JsonObject): readonly JsonObject[] {
  if (routes === undefined || routes === null) return [];
  if (Array.isArray(routes) && routes.every((route) => isObject(route) && isText(route.dst))) {
    return routes as readonly JsonObject[];
  }
  throw new CniError(
    Code.INVALID_CONFIG,
    "ipam.routes is no list of routes",
    'write [{"dst": "10.0.0.0/8"}]',
  );
}

function isText(value: unknown): boolean {
  return typeof value === "string";
}
