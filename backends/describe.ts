/**
 * Describes kernel objects in the words of ip(8), bridge(8) and ethtool(8).
 *
 * @module
 */
import { formatIPv4 } from "../mod/ip/mod.ts";
import {
  type FdbEntry,
  type InterfaceAddress,
  type Link,
  LinkKind,
  type Neighbour,
  type PlannedChange,
  type Route,
  type TransmitChecksum,
} from "../mod/sys/mod.ts";
import { IFF_UP } from "../mod/sys/linux_constants.ts";

/** Name of an interface by its index. */
export type NameOf = (index: number) => string;

/** One line of a diff: a removal or an addition. */
export interface DiffLine {
  readonly sign: "-" | "+";
  readonly text: string;
}

/** Returns the lines of a planned change. */
export function describeChange(change: PlannedChange, nameOf: NameOf): DiffLine[] {
  const lines: DiffLine[] = [];
  if (change.before !== undefined) {
    lines.push({ sign: "-", text: describe(change.kind, change.before, nameOf, change.after) });
  }
  if (change.after !== undefined) {
    lines.push({ sign: "+", text: describe(change.kind, change.after, nameOf, change.before) });
  }
  return lines;
}

/** @param other the same object before or after, where there is one */
function describe(
  kind: PlannedChange["kind"],
  object: NonNullable<PlannedChange["before"]>,
  nameOf: NameOf,
  other: unknown,
): string {
  switch (kind) {
    case "link":
      return describeLink(object as Link, nameOf, other !== undefined);
    case "address":
      return describeAddress(object as InterfaceAddress, nameOf);
    case "neighbour":
      return describeNeighbour(object as Neighbour, nameOf);
    case "fdb":
      return describeFdbEntry(object as FdbEntry, nameOf);
    case "route":
      return describeRoute(object as Route, nameOf);
    case "tx-checksum": {
      const { name, on } = object as TransmitChecksum;
      return `tx-checksum-ip-generic ${on ? "on" : "off"} dev ${name}`;
    }
  }
}

/** @param isAltered leaves the attributes of the kind out and adds the MAC */
function describeLink(
  link: Link,
  nameOf: NameOf,
  isAltered: boolean,
): string {
  const { name, kind, mtu, mac, flags } = link;
  const words = [`device ${name}`];
  if (!isAltered) {
    if (kind !== undefined) words.push(`type ${kind}`);
    words.push(...LinkKind.describe(link, nameOf));
  } else if (mac !== undefined) words.push(`address ${mac}`);
  words.push(`mtu ${mtu}`, (flags & IFF_UP) === 0 ? "down" : "up");
  return words.join(" ");
}

/** Returns `address 10.20.93.0/32 dev flannel.1`. */
export function describeAddress(
  { index, address, prefixLength }: InterfaceAddress,
  nameOf: NameOf,
): string {
  return `address ${formatIPv4(address)}/${prefixLength} dev ${nameOf(index)}`;
}

function describeNeighbour({ index, address, mac, state }: Neighbour, nameOf: NameOf): string {
  return `neighbour ${formatIPv4(address)} lladdr ${mac} dev ${nameOf(index)}${nud(state)}`;
}

function describeFdbEntry({ index, mac, destination, state }: FdbEntry, nameOf: NameOf): string {
  return `fdb ${mac}${destination === undefined ? "" : ` dst ${formatIPv4(destination)}`}` +
    ` dev ${nameOf(index)}${nud(state)}`;
}

/** Returns NUD_* of linux/neighbour.h, where it is not that of flanneld's objects. */
function nud(state: number): string {
  return state === 0x80 ? "" : ` nud 0x${state.toString(16)}`;
}

/** Returns `route 10.20.65.0/24 via 172.28.128.102 dev eth1 proto 102`. */
export function describeRoute(
  { destination, gateway, oif, metric, onlink, protocol }: Route,
  nameOf: NameOf,
): string {
  return `route ${destination}` +
    (gateway === undefined ? "" : ` via ${formatIPv4(gateway)}`) +
    ` dev ${nameOf(oif)} proto ${protocol}` +
    (metric === 0 ? "" : ` metric ${metric}`) +
    (onlink ? " onlink" : "");
}
