import { assertEquals } from "@std/assert";
import { NetworkNamespace } from "../../lab/netns.ts";
import { FLANNELD } from "../../lab/unit.ts";

/** Where Debian's containernetworking-plugins has its plugins. */
const PLUGINS = "/usr/lib/cni";

/** A network configuration, or a part of one. */
export type NetConf = Record<string, unknown>;

/** The answer of the plugin. */
export interface Answer {
  readonly code: number;
  /** Parsed; `undefined` when there was none. */
  // deno-lint-ignore no-explicit-any
  readonly output: any;
  readonly stderr: string;
}

/** A call of the plugin. */
export interface LabCall {
  readonly command: string;
  readonly id?: string;
  readonly container?: NetworkNamespace | undefined;
  readonly ifname?: string;
  readonly config?: NetConf;
  /** In place of the configuration. */
  readonly input?: string;
  /** In place of `flannel`. */
  readonly plugin?: string;
  /** CNI_ARGS. */
  readonly args?: string;
}

/** A host with the plugin and a subnet file, which a test plays the container runtime of. */
export class CniLab implements AsyncDisposable {
  readonly directory: string;
  readonly host: NetworkNamespace;
  readonly #containers: NetworkNamespace[] = [];

  private constructor(directory: string, host: NetworkNamespace) {
    this.directory = directory;
    this.host = host;
  }

  /** @param plugins directory of the delegates; none when it is left out of the options */
  static async create({ plugins }: { plugins?: string } = { plugins: PLUGINS }): Promise<CniLab> {
    const directory = await Deno.makeTempDir({ prefix: "flanneld-cni-" });
    const lab = new CniLab(directory, await NetworkNamespace.create());
    await Deno.mkdir(lab.bin);
    await Deno.symlink(FLANNELD, `${lab.bin}/flannel`);
    for (const { name } of plugins === undefined ? [] : Deno.readDirSync(plugins)) {
      await Deno.symlink(`${plugins}/${name}`, `${lab.bin}/${name}`);
    }
    await lab.lease();
    return lab;
  }

  get bin(): string {
    return `${this.directory}/bin`;
  }

  get dataDir(): string {
    return `${this.directory}/flannel`;
  }

  get networks(): string {
    return `${this.directory}/networks`;
  }

  /** Writes the subnet file. */
  async lease(subnet = "10.20.93.1/24", more = ""): Promise<void> {
    await Deno.writeTextFile(
      `${this.directory}/subnet.env`,
      `FLANNEL_NETWORK=10.20.0.0/16\nFLANNEL_SUBNET=${subnet}\nFLANNEL_MTU=1450\n` +
        `FLANNEL_IPMASQ=true\n${more}`,
    );
  }

  /** Makes a container's namespace. */
  async container(): Promise<NetworkNamespace> {
    const container = await NetworkNamespace.create();
    this.#containers.push(container);
    return container;
  }

  /** Removes a container's namespace, as its end does. */
  async remove(container: NetworkNamespace): Promise<void> {
    this.#containers.splice(this.#containers.indexOf(container), 1);
    await container[Symbol.asyncDispose]();
  }

  /** A configuration for a delegate whose files are in the lab. */
  config(more: NetConf = {}): NetConf {
    return {
      cniVersion: "1.0.0",
      name: "cbr0",
      type: "flannel",
      subnetFile: `${this.directory}/subnet.env`,
      dataDir: this.dataDir,
      ipam: { dataDir: this.networks },
      delegate: { isDefaultGateway: true, bridge: "cni0" },
      ...more,
    };
  }

  get leaseDir(): string {
    return `${this.directory}/leases`;
  }

  /** A configuration without a delegate. */
  builtin(more: NetConf = {}, conf: NetConf = {}): NetConf {
    const { ipam: _, delegate: __, ...rest } = this.config();
    const builtin = { leaseDir: this.leaseDir, ...more };
    return { ...rest, cniVersion: "1.1.0", builtin, ...conf };
  }

  /** Addresses that the plugin itself has leased. */
  builtinLeases(network = "cbr0"): string[] {
    try {
      const { leases } = JSON.parse(Deno.readTextFileSync(`${this.leaseDir}/${network}.json`));
      return leases.map(({ address }: { address: string }) => address);
    } catch {
      return [];
    }
  }

  /** Starts a call of the plugin. */
  spawn({ command, id = "c1", container, ifname = "eth0", ...call }: LabCall) {
    const { config, input, plugin = "flannel", args = "" } = call;
    const child = new Deno.Command("ip", {
      args: ["netns", "exec", this.host.name, `${this.bin}/${plugin}`],
      env: {
        CNI_COMMAND: command,
        CNI_CONTAINERID: id,
        CNI_NETNS: container?.path ?? "",
        CNI_IFNAME: ifname,
        CNI_PATH: this.bin,
        CNI_ARGS: args,
      },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const write = async () => {
      const writer = child.stdin.getWriter();
      await writer.write(
        new TextEncoder().encode(input ?? JSON.stringify(config ?? this.config())),
      ).catch(() => {});
      await writer.close().catch(() => {});
    };
    return { child, written: write() };
  }

  /** Calls the plugin, and kills it a while after a condition holds; it may have ended by then. */
  async kill(call: LabCall, condition: () => boolean, delayMs: number): Promise<void> {
    const { child, written } = this.spawn(call);
    const output = child.output();
    await written;
    const end = Date.now() + 30_000;
    while (!condition()) {
      if (Date.now() > end) throw new Error(`${call.command} did not come so far`);
      await new Promise((done) => setTimeout(done));
    }
    if (delayMs > 0) await new Promise((done) => setTimeout(done, delayMs));
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await output;
  }

  /** Calls the plugin. */
  async call(call: LabCall): Promise<Answer> {
    const { child, written } = this.spawn(call);
    const { code, stdout, stderr } = await child.output();
    await written;
    const text = new TextDecoder().decode(stdout);
    const output = text.trim() === "" ? undefined : JSON.parse(text);
    return { code, output, stderr: new TextDecoder().decode(stderr) };
  }

  /** Calls the plugin, which must succeed. */
  // deno-lint-ignore no-explicit-any
  async succeed(call: LabCall): Promise<any> {
    const { code, output, stderr } = await this.call(call);
    assertEquals([code, code === 0 ? "" : output], [0, ""], stderr);
    return output;
  }

  /** Names of the files in a directory of the lab, sorted; none when it is missing. */
  files(directory: string): string[] {
    try {
      return [...Deno.readDirSync(directory)].map(({ name }) => name).sort();
    } catch {
      return [];
    }
  }

  /** Addresses that host-local has leased. */
  leased(network = "cbr0"): string[] {
    return this.files(`${this.networks}/${network}`).filter((name) => /^\d+\./.test(name));
  }

  /** Names of the host's links besides loopback. */
  async links(): Promise<string[]> {
    const links = JSON.parse(await this.host.ip("-j", "link")) as { ifname: string }[];
    return links.map(({ ifname }) => ifname).filter((name) => name !== "lo").sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const container of this.#containers) await container[Symbol.asyncDispose]();
    await this.host[Symbol.asyncDispose]();
    await Deno.remove(this.directory, { recursive: true });
  }
}
