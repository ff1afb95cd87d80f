import { type IPv4, parseIPv4 } from "../ip/mod.ts";

/** resolv.conf(5); then the servers of systemd-resolved, when the first file names only its stub. */
const FILES = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/**
 * Returns the IPv4 addresses of this host's name servers, without those on the loopback.
 *
 * @param root root of the file tree. @default ""
 */
export function nameServers(root = ""): IPv4[] {
  for (const file of FILES) {
    let text: string;
    try {
      text = Deno.readTextFileSync(root + file);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) continue;
      // A process that cannot read the file does not use these servers either.
      return [];
    }
    const servers = text.split("\n").flatMap((line) => {
      const [keyword, address = ""] = line.trim().split(/[ \t]+/, 2);
      return keyword === "nameserver" ? [parseIPv4(address) ?? 0] : [];
    }).filter((address) => address !== 0 && (address >>> 24) !== 127);
    if (servers.length > 0) return servers;
  }
  return [];
}
