import { Prefix } from "../ip/mod.ts";
import { parseDotenv } from "../export/dotenv.ts";
import { CniError, Code } from "./errors.ts";
import { maskIPv6Prefix } from "./ipv6_prefix.ts";
import { reasonOf } from "./json.ts";

/** Content of subnet.env, of IPv4, IPv6 or both. All prefixes are without host bits. */
export interface SubnetFile {
  /** Networks, IPv4 before IPv6. */
  readonly networks: readonly string[];
  /** This host's subnets: at most one of IPv4, then at most one of IPv6. */
  readonly subnets: readonly string[];
  /** The IPv4 subnet again. */
  readonly ipv4?: Prefix;
  /** IPv4 networks again. */
  readonly ipv4Networks: readonly Prefix[];
  readonly mtu: number;
  /** The agent masquerades. */
  readonly ipMasq: boolean;
}

/**
 * Reads subnet.env.
 *
 * @throws {CniError} 11 while there is no usable one: the agent writes it once it has a lease
 */
export function readSubnetFile(path: string): SubnetFile {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new CniError(
        Code.TRY_AGAIN,
        `${path} does not exist: this host has no lease yet`,
        "start flanneld, or set subnetFile to its -subnet-file",
      );
    }
    throw new CniError(Code.IO_FAILURE, `cannot read ${path}`, reasonOf(error), { cause: error });
  }
  return parseSubnetFile(path, text);
}

/**
 * Parses subnet.env.
 *
 * @param path for errors
 * @throws {CniError} 11 when a variable is missing or invalid
 */
export function parseSubnetFile(path: string, text: string): SubnetFile {
  const variables = parseDotenv(text);
  const value = (name: string) => variables.get(name) ?? "";
  const refuse = (name: string) =>
    new CniError(
      Code.TRY_AGAIN,
      `${path} has an invalid ${name}: ${JSON.stringify(value(name))}`,
      "restart flanneld, which writes the file",
    );
  const ipv4 = (name: string) =>
    list(value(name)).map((member) => {
      const prefix = Prefix.parse(member);
      if (prefix === undefined) throw refuse(name);
      return prefix;
    });
  const ipv6 = (name: string) =>
    list(value(name)).map((member) => {
      const prefix = maskIPv6Prefix(member);
      if (prefix === undefined) throw refuse(name);
      return prefix;
    });
  const ipv4Networks = ipv4("FLANNEL_NETWORK");
  const ipv6Networks = ipv6("FLANNEL_IPV6_NETWORK");
  const [subnet, ...others] = ipv4("FLANNEL_SUBNET");
  const [subnet6, ...others6] = ipv6("FLANNEL_IPV6_SUBNET");
  const missing = [
    ...ipv4Networks.length + ipv6Networks.length === 0 ? ["FLANNEL_NETWORK"] : [],
    ...(subnet ?? subnet6) === undefined ? ["FLANNEL_SUBNET"] : [],
    ...["FLANNEL_MTU", "FLANNEL_IPMASQ"].filter((name) => value(name) === ""),
  ];
  if (missing.length > 0) {
    throw new CniError(
      Code.TRY_AGAIN,
      `${path} is missing ${missing.join(", ")}`,
      "restart flanneld, which writes the file",
    );
  }
  if (others.length > 0) throw refuse("FLANNEL_SUBNET");
  if (others6.length > 0) throw refuse("FLANNEL_IPV6_SUBNET");
  const mtu = value("FLANNEL_MTU");
  if (!/^\d{2,5}$/.test(mtu)) throw refuse("FLANNEL_MTU");
  const ipMasq = value("FLANNEL_IPMASQ");
  if (ipMasq !== "true" && ipMasq !== "false") throw refuse("FLANNEL_IPMASQ");
  return {
    networks: [...ipv4Networks.map(String), ...ipv6Networks],
    subnets: [
      ...subnet === undefined ? [] : [String(subnet)],
      ...subnet6 === undefined ? [] : [subnet6],
    ],
    ...subnet === undefined ? {} : { ipv4: subnet },
    ipv4Networks,
    mtu: Number(mtu),
    ipMasq: ipMasq === "true",
  };
}

function list(value: string): string[] {
  return value === "" ? [] : value.split(",").map((member) => member.trim());
}
