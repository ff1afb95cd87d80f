import { Prefix } from "../ip/mod.ts";
import { ConfigError } from "./errors.ts";
import { truncate } from "../text/mod.ts";

/**
 * Parses an IPv4 network, `a.b.c.d/n`, and masks host bits.
 *
 * @param key names the value in messages
 * @throws {ConfigError} for other texts; the message names the kind: an IPv6 network (which
 * crashes flannel 0.7.1), an address without a length, or neither
 */
export async function readNetwork(key: string, text: string): Promise<Prefix> {
  const network = Prefix.parse(text);
  if (network !== undefined) return network;
  const shown = JSON.stringify(truncate(text, 60));
  throw new ConfigError(
    `${key} must be an IPv4 network such as 10.20.0.0/16${await explain(text, shown)}`,
  );
}

/**
 * Describes a text that is not an IPv4 network. Only this function loads ip-cidr: with the runtime's CommonJS
 * support it takes 8 MB and 12 ms, which an agent with a valid config saves.
 */
async function explain(text: string, shown: string): Promise<string> {
  const { default: IPCIDR } = await import("ip-cidr");
  if (IPCIDR.isValidCIDR(text)) {
    // The package also takes what follows the last colon of `anything:10.0.0.0/8`.
    return new IPCIDR(text).address.v4 ? `, not ${shown}` : `, not the IPv6 network ${shown}`;
  }
  return IPCIDR.isValidAddress(text)
    ? `; ${shown} lacks its length (invalid CIDR address: ${text})`
    : `, not ${shown} (invalid CIDR address)`;
}
