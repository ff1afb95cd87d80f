import type { EtcdApi, LabEtcd } from "../lab/etcd/lab_etcd.ts";
import type { UnderlayHost } from "../lab/lab.ts";
import type { LabProcess } from "../lab/process.ts";
import { PREFIX } from "../e2e/guide.ts";

/** A lease's lifetime as flannel sets it, in seconds. */
const LEASE_TTL = 86_400;

/** Lease values with flannel's data of a peer, in both forms, byte for byte. */
const VALUE: Readonly<Record<EtcdApi, RegExp>> = {
  v2:
    /^\{"PublicIP":"([\d.]+)","BackendType":"vxlan","BackendData":\{"VtepMAC":"([0-9a-f:]{17})"\}\}$/,
  v3:
    /^\{"PublicIP":"([\d.]+)","PublicIPv6":null,"BackendType":"vxlan","BackendData":\{"VNI":1,"VtepMAC":"([0-9a-f:]{17})"\}\}$/,
};

/** A peer from its lease. */
interface Peer {
  /** First address of its subnet. */
  readonly base: string;
  readonly publicIP: string;
  readonly mac: string;
}

/**
 * A lab host as flannel lays it out, object by object: 0.7.1 on etcd v2, newer flannel (0.9 and later,
 * with etcd v3 from 0.18 on) on v3. The objects are those that were seen of the real ones, made with
 * iproute2 and etcdctl; flannel-behaviour sections 3.2, 5.3 and 5.4 list them.
 */
export class FlannelHost implements AsyncDisposable {
  readonly host: UnderlayHost;
  /** First address of the leased subnet. */
  readonly base: string;
  readonly #etcd: LabEtcd;
  readonly #api: EtcdApi;
  /** Advertised, and the source of what is sent. */
  readonly #publicIP: string;
  #mac = "";
  readonly #peers: Peer[] = [];
  #misses: LabProcess | undefined;
  #answering: Promise<void> = Promise.resolve();

  private constructor(
    host: UnderlayHost,
    etcd: LabEtcd,
    api: EtcdApi,
    base: string,
    publicIP: string,
  ) {
    this.host = host;
    this.#etcd = etcd;
    this.#api = api;
    this.base = base;
    this.#publicIP = publicIP;
  }

  /**
   * Brings flannel up: device, lease, address, file.
   *
   * @param base first address of the subnet it leases
   * @param options `iface` and `publicIP`. @default eth1 with the host's address
   */
  static async start(
    host: UnderlayHost,
    etcd: LabEtcd,
    api: EtcdApi,
    base: string,
    { iface = "eth1", publicIP = host.address } = {},
  ): Promise<FlannelHost> {
    const flannel = new FlannelHost(host, etcd, api, base, publicIP);
    await flannel.#makeDevice(iface);
    if (api === "v2") flannel.#answering = flannel.#followMisses();
    await flannel.renew();
    await host.writeTextFile(
      "/run/flannel/subnet.env",
      `FLANNEL_NETWORK=10.20.0.0/16\nFLANNEL_SUBNET=${base.replace(/0$/, "1")}/24\n` +
        "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n",
    );
    return flannel;
  }

  /**
   * Starts 0.7.1 where another program left its `flannel.1`, which 0.7.1 keeps when it can serve: it adds
   * missing objects and removes only FDB entries that no lease names.
   */
  static async takeOver(host: UnderlayHost, etcd: LabEtcd, base: string): Promise<FlannelHost> {
    const flannel = new FlannelHost(host, etcd, "v2", base, host.address);
    flannel.#answering = flannel.#followMisses();
    await flannel.#bringDeviceUp();
    await flannel.renew();
    await flannel.learn();
    const known = new Set(flannel.#peers.map(({ mac, publicIP }) => `${mac} ${publicIP}`));
    for (const line of (await host.exec("bridge fdb show dev flannel.1".split(" "))).split("\n")) {
      const match = /^(\S+) dst ([\d.]+) /.exec(line);
      if (match === null || known.has(`${match[1]} ${match[2]}`)) continue;
      await flannel.#run(`bridge fdb del ${match[1]} dev flannel.1 dst ${match[2]} self`);
    }
    return flannel;
  }

  /** Of the VTEP. */
  get mac(): string {
    return this.#mac;
  }

  /** Key of the lease. */
  get key(): string {
    return `${PREFIX}/subnets/${this.base}-24`;
  }

  /** The lease's value, byte for byte. */
  get value(): string {
    return this.#api === "v2"
      ? `{"PublicIP":"${this.#publicIP}","BackendType":"vxlan",` +
        `"BackendData":{"VtepMAC":"${this.#mac}"}}`
      : `{"PublicIP":"${this.#publicIP}","PublicIPv6":null,"BackendType":"vxlan",` +
        `"BackendData":{"VNI":1,"VtepMAC":"${this.#mac}"}}`;
  }

  /** Writes the lease. @param ttl in seconds */
  async renew(ttl = LEASE_TTL): Promise<void> {
    if (this.#api === "v2") {
      await this.#etcd.ctl("v2", ["set", "--ttl", String(ttl), this.key, this.value]);
    } else {
      const granted = await this.#etcd.ctl("v3", ["lease", "grant", String(ttl)]);
      const id = /lease ([0-9a-f]+) granted/.exec(granted)![1]!;
      await this.#etcd.ctl("v3", ["put", `--lease=${id}`, this.key, this.value]);
    }
  }

  /**
   * Reads all leases as flannel does and programs the peers.
   *
   * @throws {Error} when a key or a value is not, byte for byte, what flannel itself would write
   */
  async learn(): Promise<void> {
    for (const key of await this.#etcd.keys(this.#api, `${PREFIX}/subnets`)) {
      if (key === this.key) continue;
      const base = /\/subnets\/([\d.]+)-24$/.exec(key)?.[1];
      const value = await this.#etcd.get(this.#api, key);
      const match = VALUE[this.#api].exec(value ?? "");
      if (base === undefined || match === null) {
        throw new Error(`flannel on ${this.host.name} cannot read ${key}: ${value}`);
      }
      await this.#add({ base, publicIP: match[1]!, mac: match[2]! });
    }
  }

  /** Programs a peer, whether it is there or not. */
  async #add(peer: Peer): Promise<void> {
    const { base, publicIP, mac } = peer;
    const known = this.#peers.findIndex((one) => one.base === base);
    if (known >= 0) this.#peers.splice(known, 1);
    this.#peers.push(peer);
    const fdb = `bridge fdb replace ${mac} dev flannel.1 dst ${publicIP} self permanent`;
    if (this.#api === "v2") return await this.#run(fdb);
    await this.#run(`ip neigh replace ${base} lladdr ${mac} dev flannel.1 nud permanent`);
    await this.#run(fdb);
    await this.#run(`ip route replace ${base}/24 via ${base} dev flannel.1 onlink`);
  }

  /** Programs a peer that has long been gone, as if one of its containers had just been asked for. */
  async remember(base: string, publicIP: string, mac: string): Promise<void> {
    await this.#add({ base, publicIP, mac });
    if (this.#api === "v2") await this.#answerMiss(base.replace(/0$/, "2"));
  }

  /** Simulates a reboot: a new device with another MAC, and a new lease value. */
  async reboot(): Promise<void> {
    await this.#run("ip link del flannel.1");
    await this.#makeDevice("eth1");
    for (const peer of this.#peers.splice(0)) await this.#add(peer);
    await this.renew();
  }

  /** The process ends; all that it made stays. */
  async stop(): Promise<void> {
    await this.#misses?.kill();
    await this.#answering;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Answers the kernel's questions who has an address. */
  async #followMisses(): Promise<void> {
    const monitor = await this.host.spawn(["ip", "monitor", "neigh"]);
    this.#misses = monitor;
    for (let from = 0; monitor.running;) {
      const miss = await monitor.waitFor(/miss ([\d.]+) dev flannel\.1 .*\n/, {
        ...{ from, timeout: 60_000 },
      }).catch(() => undefined);
      if (miss === undefined) return;
      from += miss.index + miss[0].length;
      await this.#answerMiss(miss[1]!);
    }
  }

  /** The neighbour becomes the VTEP of its subnet, for as long as it is used. */
  async #answerMiss(address: string): Promise<void> {
    const subnet = address.replace(/\.\d+$/, ".0");
    const peer = this.#peers.find(({ base }) => base === subnet);
    // flannel logs: L3 miss but route for ... not found
    if (peer === undefined) return;
    await this.#run(`ip neigh replace ${address} lladdr ${peer.mac} dev flannel.1 nud reachable`);
  }

  async #makeDevice(iface: string): Promise<void> {
    await this.#run(
      `ip link add flannel.1 type vxlan id 1 dev ${iface} local ${this.#publicIP} ` +
        "dstport 8472 nolearning",
    );
    await this.#bringDeviceUp();
  }

  /** Existing objects are fine: 0.7.1 ignores them. */
  async #bringDeviceUp(): Promise<void> {
    this.#mac = await macOf(this.host);
    if (this.#api === "v2") {
      await this.host.exec([
        ...["sh", "-c", "echo 3 > /proc/sys/net/ipv4/neigh/flannel.1/app_solicit"],
      ]);
    }
    await this.host.run(`ip address add ${this.base}/32 dev flannel.1`.split(" "));
    await this.#run("ip link set flannel.1 up");
    if (this.#api !== "v2") return;
    await this.host.run("ip route add 10.20.0.0/16 dev flannel.1 scope global".split(" "));
  }

  async #run(command: string): Promise<void> {
    await this.host.exec(command.split(" "));
  }
}

/** Stands for docker0: the address of the containers' gateway. */
export async function makeDocker0(host: UnderlayHost, base: string): Promise<string> {
  const address = base.replace(/0$/, "1");
  await host.exec("ip link add docker0 type bridge".split(" "));
  await host.exec(["ip", "address", "add", `${address}/24`, "dev", "docker0"]);
  await host.exec("ip link set docker0 up".split(" "));
  return address;
}

/** The VTEP MAC of a host. */
export async function macOf(host: UnderlayHost): Promise<string> {
  return JSON.parse(await host.exec("ip -j link show flannel.1".split(" ")))[0].address;
}
