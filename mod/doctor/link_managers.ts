/**
 * NetworkManager and systemd-networkd, where they manage an interface of another program: they remove its addresses and
 * routes whenever they apply their own configuration.
 *
 * @module
 */

/** A program that configures a host's interfaces. */
export type LinkManagerName = "NetworkManager" | "systemd-networkd";

/** An interface and the program that manages it. */
export interface ManagedLink {
  /** Name of the interface. */
  readonly device: string;
  readonly manager: LinkManagerName;
  /** The program's configuration that covers the interface. @default none that is known */
  readonly source?: string;
}

/** An interface of this host. */
interface LinkName {
  readonly index: number;
  readonly name: string;
}

/** Names as the kernel shows them: it cuts them after 15 bytes. */
const PROCESS_NAMES: Readonly<Record<LinkManagerName, string>> = {
  "NetworkManager": "NetworkManager",
  "systemd-networkd": "systemd-network",
};

/** State of each interface, by its index. Both programs leave it behind when they end. */
const STATE_DIRECTORIES: Readonly<Record<LinkManagerName, string>> = {
  "NetworkManager": "/run/NetworkManager/devices",
  "systemd-networkd": "/run/systemd/netif/links",
};

/** States of an interface that systemd-networkd leaves alone, or has not decided about. */
const NOT_CONFIGURED: ReadonlySet<string> = new Set(["unmanaged", "pending", "initialized"]);

/** Names of flanneld's devices, for both programs. */
export const FLANNELD_DEVICES = "flannel*";

/** Finds the interfaces that a running NetworkManager or systemd-networkd manages. */
export async function managedLinks(links: Iterable<LinkName>): Promise<ManagedLink[]> {
  const running = await runningManagers();
  const found: ManagedLink[] = [];
  for (const { index, name: device } of links) {
    for (const manager of running) {
      const state = await readState(`${STATE_DIRECTORIES[manager]}/${index}`);
      if (manager === "NetworkManager") {
        if (state.get("managed") === "true") found.push({ device, manager });
        continue;
      }
      const setup = state.get("ADMIN_STATE");
      if (setup === undefined || NOT_CONFIGURED.has(setup)) continue;
      const source = state.get("NETWORK_FILE");
      found.push({ device, manager, ...(source ? { source } : {}) });
    }
  }
  return found;
}

/** Describes what the program does with the interface, in one line. */
export function describeManagedLink({ device, manager, source }: ManagedLink): string {
  return source === undefined
    ? `${manager} manages ${device}`
    : `${manager} manages ${device}, by ${source}`;
}

/**
 * Returns the commands that make a program leave devices alone, in order, each for a shell.
 *
 * @param pattern names of the devices
 * @param file name of the program's new file, without extension
 */
export function unmanageCommands(
  manager: LinkManagerName,
  pattern: string,
  file: string,
): string[] {
  switch (manager) {
    case "NetworkManager":
      return [
        `printf '[keyfile]\\nunmanaged-devices+=interface-name:${pattern}\\n' ` +
        `> /etc/NetworkManager/conf.d/90-${file}.conf`,
        "nmcli general reload conf",
      ];
    case "systemd-networkd":
      // The first file in the order of names that matches an interface is the only one that counts.
      return [
        `printf '[Match]\\nName=${pattern}\\n\\n[Link]\\nUnmanaged=yes\\n' ` +
        `> /etc/systemd/network/00-${file}.network`,
        "networkctl reload",
      ];
  }
}

/** Returns the commands that make systemd-networkd keep routes of other programs. */
export function keepRoutesCommands(): string[] {
  return [
    "mkdir -p /etc/systemd/networkd.conf.d",
    "printf '[Network]\\nManageForeignRoutes=no\\n' > /etc/systemd/networkd.conf.d/flanneld.conf",
    "systemctl restart systemd-networkd",
  ];
}

async function runningManagers(): Promise<LinkManagerName[]> {
  const running = new Set<string>();
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      running.add((await Deno.readTextFile(`/proc/${name}/comm`)).trimEnd());
    } catch {
      // The process has ended.
    }
  }
  return (Object.keys(PROCESS_NAMES) as LinkManagerName[])
    .filter((name) => running.has(PROCESS_NAMES[name]));
}

/** Reads the assignments of a state file; none when it is missing. */
async function readState(path: string): Promise<Map<string, string>> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch {
    return new Map();
  }
  return new Map(
    text.split("\n").flatMap((line) => {
      const match = /^([\w-]+)=(.*)$/.exec(line);
      return match === null ? [] : [[match[1]!, match[2]!]] as const;
    }),
  );
}
