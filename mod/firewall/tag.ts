/** Where a lone network's subnet.env is, unless the operator says otherwise. */
const LONE_FILE = "/run/flannel/subnet.env";

/** XT_EXTENSION_MAXNAMELEN of linux/netfilter/x_tables.h less the zero, and less `FLANNEL-POSTRTG-`. */
const LONGEST = 12;

/**
 * The tag that tells one network's firewall chains from those of others on the host: chains would
 * otherwise be rewritten in turn by each. A lone network has none, so that its chains have flannel's names.
 *
 * It follows from what is the same at every start: the network's name where one process serves several,
 * else the path of the subnet file, by which two agents on one host are told apart.
 *
 * @returns up to 12 characters that iptables and nft take in a name
 */
export function chainTag(network: string | undefined, subnetFile: string): string | undefined {
  if (network !== undefined) {
    const isPlain = network.length <= LONGEST && /^[\w.-]+$/.test(network);
    return isPlain ? network : `${network.replace(/[^\w]/g, "").slice(0, 3)}.${hash(network)}`;
  }
  return subnetFile === LONE_FILE ? undefined : `file${hash(subnetFile)}`;
}

/** FNV-1a of 32 bits (draft-eastlake-fnv), in hexadecimal. */
function hash(text: string): string {
  let value = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) {
    value = Math.imul(value ^ byte, 0x01000193) >>> 0;
  }
  return value.toString(16).padStart(8, "0");
}
