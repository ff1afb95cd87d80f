import type { Attachment } from "../config.ts";
import { isObject, type JsonObject } from "../json.ts";

/** Default of host-local's `dataDir`. */
const DATA_DIRECTORY = "/var/lib/cni/networks";

/**
 * Lists the attachments of a network that host-local has leased an address to. It keeps a file per address with the
 * container's ID and, on the second line, the interface.
 *
 * @param config of the delegate
 */
export function leasedAttachments({ name, ipam }: JsonObject): Attachment[] {
  const dataDir = isObject(ipam) && typeof ipam.dataDir === "string" && ipam.dataDir !== ""
    ? ipam.dataDir
    : DATA_DIRECTORY;
  const directory = `${dataDir}/${name}`;
  const attachments = new Map<string, Attachment>();
  try {
    for (const { name, isFile } of Deno.readDirSync(directory)) {
      if (!isFile || !/^[0-9a-f.:]+$/i.test(name)) continue;
      const [containerID = "", ifname = ""] = Deno.readTextFileSync(`${directory}/${name}`)
        .split(/\r?\n/);
      attachments.set(`${containerID}\n${ifname}`, { containerID, ifname });
    }
  } catch {
    // A lease that goes meanwhile needs no collection; without the directory there are none.
  }
  return [...attachments.values()];
}
