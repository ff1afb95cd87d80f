import { LabHost } from "./host.ts";

/** Prefix of the directories of labs; the id of the process that owns one comes next. */
const DIR_PREFIX = "flanneld-lab-";

/** Last octet of the first host, as in the guide: Host100, Host101, Host102. */
const FIRST = 100;

/** The hosts' own network. */
const UNDERLAY = "172.28.128";

/** Address of every machine of a Vagrant cluster on eth0, by VirtualBox's NAT. */
const DECOY = { address: "10.0.2.15", gateway: "10.0.2.2" };

/** Options of {@linkcode Lab.start}. */
export interface LabOptions {
  /** How many hosts. @default 3 */
  readonly hosts?: number;
  /** MTU of eth1, in bytes. @default 1500 */
  readonly mtu?: number;
}

/**
 * The guide's cluster on one machine: hosts `host100`, `host101`, ... that share one Ethernet on
 * eth1 (172.28.128.100 and so on, /24), while eth0 is the guide's trap: 10.0.2.15/24 on every host,
 * with the default route, leading nowhere.
 *
 * @example
 * ```ts ignore
 * await using lab = await Lab.start({ hosts: 2 });
 * await lab.hosts[0]!.ping(lab.hosts[1]!.address);
 * ```
 */
export class Lab implements AsyncDisposable {
  /** Directory for the lab's files; removed with it. */
  readonly dir: string;
  readonly hosts: readonly UnderlayHost[];
  /** The host that all cables end in. */
  readonly switch: LabHost;
  readonly #mtu: number;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    dir: string,
    hub: LabHost,
    hosts: readonly UnderlayHost[],
    mtu: number,
    stack: AsyncDisposableStack,
  ) {
    this.dir = dir;
    this.switch = hub;
    this.hosts = hosts;
    this.#mtu = mtu;
    this.#stack = stack;
  }

  /**
   * Brings the hosts up.
   *
   * @throws {Error} when the machine cannot carry it; removes everything made so far
   */
  static async start({ hosts: count = 3, mtu = 1500 }: LabOptions = {}): Promise<Lab> {
    await sweep();
    await using stack = new AsyncDisposableStack();
    const dir = await Deno.makeTempDir({ prefix: `${DIR_PREFIX}${Deno.pid}-` });
    stack.defer(() => Deno.remove(dir, { recursive: true }));
    const start = async (name: string) => {
      await Deno.mkdir(`${dir}/${name}`);
      return stack.use(await LabHost.start(name, `${dir}/${name}`));
    };
    const hub = await start("switch");
    const hosts: UnderlayHost[] = [];
    for (let i = 0; i < count; i++) {
      const octet = FIRST + i;
      hosts.push(
        Object.assign(await start(`host${octet}`), { address: `${UNDERLAY}.${octet}` }),
      );
    }
    await cable(hub, hosts, mtu);
    return new Lab(dir, hub, hosts, mtu, stack.move());
  }

  /** The host with this name. */
  host(name: string): UnderlayHost {
    const host = this.hosts.find((host) => host.name === name);
    if (host === undefined) throw new RangeError(`the lab has no ${name}`);
    return host;
  }

  /** Pulls the cable out of a host's eth1. */
  async unplug(host: UnderlayHost): Promise<void> {
    await this.switch.exec(["ip", "link", "set", portOf(host, "eth1"), "down"]);
  }

  /** Puts the cable back. */
  async plug(host: UnderlayHost): Promise<void> {
    await this.switch.exec(["ip", "link", "set", portOf(host, "eth1"), "up"]);
  }

  /** Takes a host's eth1 out. */
  async removeInterface(host: UnderlayHost): Promise<void> {
    await host.exec(["ip", "link", "del", "eth1"]);
  }

  /** Puts a new eth1 in, which is up, with an index of its own and without an address. */
  async addInterface(host: UnderlayHost): Promise<void> {
    await connect(this.switch, [{ host, device: "eth1" }], this.#mtu);
    await host.exec(["ip", "link", "set", "eth1", "up"]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** A host with its address on the hosts' network. */
export type UnderlayHost = LabHost & {
  /** On eth1. */
  readonly address: string;
};

function portOf(host: LabHost, device: string): string {
  return `${host.name}-${device}`;
}

/** Connects the hosts: eth1 to one bridge; the other end of eth0 stays on its own. */
async function cable(hub: LabHost, hosts: readonly UnderlayHost[], mtu: number): Promise<void> {
  // The bridge is to be a switch, without the machine's firewall in its way.
  const bridgeNetfilter = "/proc/sys/net/bridge/bridge-nf-call-iptables";
  await hub.exec(["sh", "-c", `[ ! -e ${bridgeNetfilter} ] || echo 0 > ${bridgeNetfilter}`]);
  await hub.exec(["ip", "link", "add", "name", "br0", "type", "bridge", "mcast_snooping", "0"]);
  await hub.exec(["ip", "link", "set", "br0", "up"]);
  await connect(
    hub,
    hosts.flatMap((host) => ["eth0", "eth1"].map((device) => ({ host, device }))),
    mtu,
  );
  await Promise.all(hosts.map((host) =>
    ipBatch(["--target", String(host.pid), "--net"], [
      `addr add ${DECOY.address}/24 broadcast + dev eth0`,
      `addr add ${host.address}/24 broadcast + dev eth1`,
      "link set eth0 up",
      "link set eth1 up",
      `route add default via ${DECOY.gateway} dev eth0 metric 100`,
    ])
  ));
}

/** Makes devices in hosts, each with its cable to the switch. */
async function connect(
  hub: LabHost,
  devices: readonly { readonly host: LabHost; readonly device: string }[],
  mtu: number,
): Promise<void> {
  const lines = devices.flatMap(({ host, device }) => {
    const port = portOf(host, device);
    return [
      `link add name ${port} mtu ${mtu} type veth peer name ${device} mtu ${mtu} netns ${host.pid}`,
      `link set ${port} ${device === "eth1" ? "master br0" : ""} up`,
    ];
  });
  // The switch sees process ids of its own namespace only, hence not LabHost.exec().
  await ipBatch(["--target", String(hub.pid), "--net"], lines);
}

async function ipBatch(namespaces: readonly string[], lines: readonly string[]): Promise<void> {
  const child = new Deno.Command("nsenter", {
    args: [...namespaces, "--", "ip", "-batch", "-"],
    stdin: "piped",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(lines.join("\n") + "\n"));
  await writer.close();
  const { success, stderr } = await child.output();
  if (!success) {
    throw new Error(`ip -batch: ${new TextDecoder().decode(stderr)}\n${lines.join("\n")}`);
  }
}

/**
 * Removes the directories that killed testers left behind. Directories are all that such a tester
 * leaves: its hosts end with it.
 */
async function sweep(): Promise<void> {
  const base = Deno.env.get("TMPDIR") ?? "/tmp";
  for await (const { name } of Deno.readDir(base)) {
    const owner = name.startsWith(DIR_PREFIX) && /^\d+/.exec(name.slice(DIR_PREFIX.length))?.[0];
    if (!owner || await exists(`/proc/${owner}`)) continue;
    // Another tester may sweep at the same moment.
    await Deno.remove(`${base}/${name}`, { recursive: true }).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
