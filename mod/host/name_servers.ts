import { type IPv4, parseIPv4 } from "../ip/mod.ts";

/** resolv.conf(5); then what systemd-resolved asks, where the first names its stub alone. */
const FILES = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/**
 * The IPv4 addresses of the name servers that this host asks. Those of the loopback are left out.
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
      // Whoever cannot read it does not ask them either.
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
