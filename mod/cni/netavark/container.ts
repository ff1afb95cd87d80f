import { formatIPv4, parseIPv4 } from "../../ip/mod.ts";
import type { AttachRequest } from "../builtin/builtin.ts";
import type { Attached } from "../builtin/result.ts";
import { isInterfaceName, isName } from "../call.ts";
import type { Attachment } from "../config.ts";
import { CniError, Code } from "../errors.ts";
import { isObject, type JsonObject } from "../json.ts";

/** A container of `setup`. */
export interface Container {
  readonly request: Omit<AttachRequest, "netns">;
  readonly network: JsonObject;
  /** Ports to publish, as `host:container/protocol`. */
  readonly ports: readonly string[];
}

/** Six octets in hex. */
const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i;

/** Reads the container's interface from the input of `setup` and `teardown`. @throws {CniError} 7 */
export function readAttachment(
  { container_id: containerID, network_options: options }: JsonObject,
): Attachment {
  if (typeof containerID !== "string" || !isName(containerID)) {
    throw invalid("container_id", containerID);
  }
  const ifname = isObject(options) ? options.interface_name : undefined;
  if (typeof ifname !== "string" || !isInterfaceName(ifname)) {
    throw invalid("interface_name", ifname);
  }
  return { containerID, ifname };
}

/** Reads the input of `setup`. @throws {CniError} 7 for an invalid member */
export function readContainer(input: JsonObject): Container {
  const { network, network_options, port_mappings } = input;
  if (!isObject(network)) throw invalid("network", network);
  const options = isObject(network_options) ? network_options : {};
  const { static_mac: mac } = options;
  if (mac && !(typeof mac === "string" && MAC.test(mac))) throw invalid("static_mac", mac);
  const address = readAddress(options);
  return {
    request: {
      ...readAttachment(input),
      ...address === undefined ? {} : { address },
      ...mac ? { mac: String(mac) } : {},
    },
    network,
    ports: (Array.isArray(port_mappings) ? port_mappings : []).filter(isObject)
      .map((port) => `${port.host_port}:${port.container_port}/${port.protocol}`),
  };
}

/** Reads the address that the operator chose; `podman network reload` lists a chosen one twice. */
function readAddress({ static_ips: list }: JsonObject): number | undefined {
  const [text, ...others] = new Set(Array.isArray(list) ? list : []);
  if (text === undefined) return undefined;
  const address = typeof text === "string" ? parseIPv4(text) : undefined;
  if (address !== undefined && others.length === 0) return address;
  throw new CniError(
    Code.INVALID_CONFIG,
    `invalid address ${JSON.stringify(list)}`,
    "expected one IPv4 address",
  );
}

function invalid(member: string, value: unknown): CniError {
  return new CniError(Code.INVALID_CONFIG, `invalid ${member}: ${JSON.stringify(value)}`);
}

/** Encodes netavark's status block, the answer to `setup`. */
export function encodeStatus(
  { container, address, prefixLength, gateway }: Attached,
): string {
  return JSON.stringify({
    dns_server_ips: [],
    dns_search_domains: [],
    interfaces: {
      [container.name]: {
        mac_address: container.mac,
        subnets: [{
          ipnet: `${formatIPv4(address)}/${prefixLength}`,
          gateway: formatIPv4(gateway),
        }],
      },
    },
  });
}
