import { parseIPv4 } from "../ip/mod.ts";

/** Files with the names of this host; tests use others. */
export interface NameFiles {
  /** hosts(5). */
  readonly hosts: string;
  /** resolv.conf(5). */
  readonly resolver: string;
}

const FILES: NameFiles = { hosts: "/etc/hosts", resolver: "/etc/resolv.conf" };

/** Host of a `Host` header, without the port. */
export interface HostName {
  /** In lower case, without a dot at the end. */
  readonly text: string;
  readonly isAddress: boolean;
}

/** Reads `host[:port]`, an IPv6 address in brackets; `undefined` when it is something else. */
export function hostnameOf(authority: string): HostName | undefined {
  const match = /^(?:\[([0-9a-f:.]{2,45})\]|([\w.-]{1,254}))(?::\d{0,5})?$/i.exec(authority);
  if (match === null) return undefined;
  if (match[1] !== undefined) return { text: match[1].toLowerCase(), isAddress: true };
  const name = match[2]!.toLowerCase();
  return {
    text: name.endsWith(".") ? name.slice(0, -1) : name,
    isAddress: parseIPv4(name) !== undefined,
  };
}

/**
 * Collects the names by which other hosts may know this one, in lower case: `localhost`, its host name, that
 * name in the domains of resolv.conf, and the names that the hosts file has for its addresses. Does not use
 * DNS, in which anybody can point a name at this host.
 *
 * @param more further names, of the listening address and of the certificate
 */
export async function ownHostNames(
  more: Iterable<string> = [],
  files: NameFiles = FILES,
): Promise<Set<string>> {
  const hostname = Deno.hostname();
  const names = new Set(["localhost", hostname, ...more]);
  const [short] = hostname.split(".");
  for (const [keyword, ...domains] of await fields(files.resolver)) {
    if (keyword !== "search" && keyword !== "domain") continue;
    for (const domain of domains) names.add(`${short}.${domain}`);
  }
  const addresses = new Set(Deno.networkInterfaces().map(({ address }) => address));
  for (const [address, ...aliases] of await fields(files.hosts)) {
    if (address === undefined) continue;
    // 127.0.1.1 is how Debian's hosts file has the host name.
    if (!addresses.has(address) && !address.startsWith("127.")) continue;
    for (const alias of aliases) names.add(alias);
  }
  return new Set(Array.from(names, (name) => name.toLowerCase()));
}

/** Lines as words, without comments; none when there is no such file. */
async function fields(path: string): Promise<string[][]> {
  const text = await Deno.readTextFile(path).catch(() => "");
  return text.split("\n").map((line) => line.split("#")[0]!.trim().split(/[ \t]+/));
}
