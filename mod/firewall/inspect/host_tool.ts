/**
 * Programs that own chains of the host's firewall, and their own commands that let the overlay through.
 * A rule that another program adds to their chains is gone after their next reload.
 *
 * @module
 */
import type { Prefix } from "../../ip/mod.ts";

/** A program that manages a host's firewall. */
export type HostTool = "firewalld" | "ufw";

/** Position of a rule. */
export interface ChainPlace {
  /** Of nftables: `ip`, `ip6` or `inet`; iptables' rules are in `ip`. */
  readonly family: string;
  /** `filter` for iptables' default table. */
  readonly table: string;
  /** Name of the chain. */
  readonly name: string;
}

/** The tunnel's datagrams, which arrive at this host. */
export interface TunnelOpening {
  readonly hook: "input";
  /** UDP port of the backend. */
  readonly port: number;
  /** Addresses of the hosts. @default any */
  readonly hosts?: Prefix | undefined;
  /** firewalld's zone of the interface. @default firewalld's default zone */
  readonly zone?: string | undefined;
}

/** Packets of other hosts' containers, which are forwarded to a bridge of this host. */
export interface ForwardOpening {
  readonly hook: "forward";
  /** The network of all containers. */
  readonly network: Prefix;
  /**
   * Addresses of the hosts, where packets come without a tunnel: Docker gives them the sending host's
   * address.
   *
   * @default packets come through a tunnel
   */
  readonly hosts?: Prefix | undefined;
  /** The containers' bridge. @default docker0 */
  readonly bridge?: string | undefined;
  /** The content of firewalld's permanent configuration. @default nothing */
  readonly firewalld?: FirewalldObjects | undefined;
}

/** The packets that have to be let through. */
export type Opening = TunnelOpening | ForwardOpening;

/** Objects of firewalld that the overlay needs. */
export interface FirewalldObjects {
  /** The zone `docker` exists: Docker makes it when it starts while firewalld runs. */
  readonly zone: boolean;
  /** The policy `flannel` exists. */
  readonly policy: boolean;
}

/** The firewalld zone that Docker puts its bridges into; its own, with target ACCEPT. */
const DOCKER_ZONE = "docker";

/** The firewalld policy that lets the overlay's packets into {@linkcode DOCKER_ZONE}. */
const FIREWALLD_POLICY = "flannel";

/** Makes what the permanent configuration holds take effect; connections stay. */
const FIREWALLD_RELOAD = "firewall-cmd --reload";

/**
 * firewalld's table with its nftables backend (`firewalld` in `inet`, up to release 0.9 in `ip` and
 * `ip6` for NAT), and its chains with its iptables backend (firewall/core/ipXtables.py).
 */
const FIREWALLD_TABLE = "firewalld";
const FIREWALLD_CHAIN = /^(INPUT|FORWARD|FORWARD_IN|FORWARD_OUT|OUTPUT)_(ZONES|POLICIES|direct)/;
const FIREWALLD_SUBCHAIN = /^(IN|FWD|FWDI|FWDO)_./;

/** ufw's chains: `ufw-before-input`, `ufw6-user-forward` (ufw(8), ufw-framework(8)). */
const UFW_CHAIN = /^ufw6?-/;

/** Built-in chains of iptables, whose names do not reveal the program that set their policy. */
const BUILT_IN: ReadonlySet<string> = new Set(["INPUT", "FORWARD", "OUTPUT"]);

/**
 * The program that manages a chain.
 *
 * @param beside names of the other chains of the table: iptables' own INPUT and FORWARD belong to the
 * program whose chains stand beside them
 * @returns `undefined` when none of the known ones does
 */
export function hostToolOf(
  { table, name }: ChainPlace,
  beside: Iterable<string> = [],
): HostTool | undefined {
  if (table === FIREWALLD_TABLE) return "firewalld";
  if (UFW_CHAIN.test(name)) return "ufw";
  if (FIREWALLD_CHAIN.test(name)) return "firewalld";
  if (!BUILT_IN.has(name) && !FIREWALLD_SUBCHAIN.test(name)) return undefined;
  const chains = [...beside];
  if (chains.some((chain) => FIREWALLD_CHAIN.test(chain))) return "firewalld";
  return BUILT_IN.has(name) && chains.some((chain) => UFW_CHAIN.test(chain)) ? "ufw" : undefined;
}

/**
 * The program's commands that open this and no more, in order, each for a shell. They hold over the
 * program's reload and the next boot.
 */
export function openingCommands(tool: HostTool, opening: Opening): string[] {
  switch (tool) {
    case "firewalld":
      return [
        ...(opening.hook === "input" ? firewalldTunnel(opening) : firewalldForward(opening)),
        FIREWALLD_RELOAD,
      ];
    case "ufw":
      return opening.hook === "input" ? ufwTunnel(opening) : ufwForward(opening);
  }
}

/**
 * Directories of firewalld's permanent configuration: the administrator's, and the packages'
 * (firewalld.dirs(5)).
 */
const FIREWALLD_DIRECTORIES = ["/etc/firewalld", "/usr/lib/firewalld"];

/** Reads what firewalld's permanent configuration holds of what the overlay needs. */
export async function readFirewalldObjects(): Promise<FirewalldObjects> {
  const [zone, policy] = await Promise.all(
    [`zones/${DOCKER_ZONE}.xml`, `policies/${FIREWALLD_POLICY}.xml`].map(async (file) => {
      const found = FIREWALLD_DIRECTORIES.map((directory) => isThere(`${directory}/${file}`));
      return (await Promise.all(found)).includes(true);
    }),
  ) as [boolean, boolean];
  return { zone, policy };
}

async function isThere(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch {
    // Absent or unreadable: firewalld's command then reports an existing object.
    return false;
  }
}

/** Makes one list of several: each command once, firewalld's reload after all others. */
export function mergeCommands(lists: readonly (readonly string[])[]): string[] {
  const all = new Set(lists.flat());
  return all.delete(FIREWALLD_RELOAD) ? [...all, FIREWALLD_RELOAD] : [...all];
}

function firewalldTunnel({ port, hosts, zone }: TunnelOpening): string[] {
  const command = `firewall-cmd --permanent${zone === undefined ? "" : ` --zone=${zone}`}`;
  if (hosts === undefined) return [`${command} --add-port=${port}/udp`];
  return [
    `${command} --add-rich-rule='rule family="ipv4" source address="${hosts}" ` +
    `port port="${port}" protocol="udp" accept'`,
  ];
}

/**
 * A policy, not a zone with the network as its source: such a zone would also decide which ports of
 * this host containers reach (firewalld.zones(5), firewalld.policies(5)).
 */
function firewalldForward({ network, hosts, bridge, firewalld }: ForwardOpening): string[] {
  const zone = `firewall-cmd --permanent --zone=${DOCKER_ZONE}`;
  const policy = `firewall-cmd --permanent --policy=${FIREWALLD_POLICY}`;
  return [
    ...(firewalld?.zone ? [] : [
      `firewall-cmd --permanent --new-zone=${DOCKER_ZONE}`,
      `${zone} --set-target=ACCEPT`,
    ]),
    `${zone} --add-interface=${bridge ?? "docker0"}`,
    ...(firewalld?.policy ? [] : [
      `firewall-cmd --permanent --new-policy=${FIREWALLD_POLICY}`,
      `${policy} --add-ingress-zone=ANY`,
      `${policy} --add-egress-zone=${DOCKER_ZONE}`,
    ]),
    ...[network, ...(hosts === undefined ? [] : [hosts])].map((source) =>
      `${policy} --add-rich-rule='rule family="ipv4" source address="${source}" ` +
      `destination address="${network}" accept'`
    ),
  ];
}

function ufwTunnel({ port, hosts }: TunnelOpening): string[] {
  return [`ufw allow proto udp from ${hosts ?? "any"} to any port ${port}`];
}

function ufwForward({ network, hosts }: ForwardOpening): string[] {
  return [network, ...(hosts === undefined ? [] : [hosts])]
    .map((source) => `ufw route allow from ${source} to ${network}`);
}
