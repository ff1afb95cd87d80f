import IPCIDR from "ip-cidr";
import { Prefix } from "../ip/mod.ts";
import { ConfigError } from "./errors.ts";

/**
 * Reads the text of an IPv4 network, `a.b.c.d/n`; host bits are masked off.
 *
 * @param key names the value in messages
 * @throws {ConfigError} when it is anything else, and says what it is: an IPv6 network (which
 * crashes flannel 0.7.1), an address without a length, or neither
 */
export function readNetwork(key: string, text: string): Prefix {
  const shown = JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}...` : text);
  const wanted = `${key} must be an IPv4 network such as 10.20.0.0/16`;
  if (!IPCIDR.isValidCIDR(text)) {
    throw new ConfigError(
      IPCIDR.isValidAddress(text)
        ? `${wanted}; ${shown} lacks its length (invalid CIDR address: ${text})`
        : `${wanted}, not ${shown} (invalid CIDR address)`,
    );
  }
  const cidr = new IPCIDR(text);
  if (!cidr.address.v4) throw new ConfigError(`${wanted}, not the IPv6 network ${shown}`);
  // The package also takes what follows the last colon of `anything:10.0.0.0/8`.
  const network = text.includes(":")
    ? undefined
    : Prefix.parse(`${cidr.start()}/${cidr.address.subnetMask}`);
  if (network === undefined) throw new ConfigError(`${wanted}, not ${shown}`);
  return network;
}
