/** Default path of subnet.env. */
const LONE_FILE = "/run/flannel/subnet.env";

/** XT_EXTENSION_MAXNAMELEN of linux/netfilter/x_tables.h less the zero, and less `FLANNEL-POSTRTG-`. */
const MAX_LENGTH = 12;

/**
 * Returns the tag of one network's firewall chains, so that the agents of several networks do not rewrite each other's
 * chains. A single network has no tag: its chains have flannel's names.
 *
 * The tag is the same at every start: it derives from the name of the network if one process serves several, else from
 * the path of the subnet file.
 *
 * @returns up to 12 characters that iptables and nft accept in a name; `undefined` for no tag
 */
export function chainTag(network: string | undefined, subnetFile: string): string | undefined {
  if (network !== undefined) {
    const isPlain = network.length <= MAX_LENGTH && /^[\w.-]+$/.test(network);
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
