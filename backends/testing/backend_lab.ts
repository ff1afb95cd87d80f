/**
 * Hosts for the tests of backends: network namespaces on one wire, each with what a backend is
 * given.
 *
 * @module
 */
import { decodeNetworkConfig } from "../../mod/config/mod.ts";
import type { ExternalInterface } from "../../mod/host/mod.ts";
import { formatIPv4, parseIPv4, Prefix } from "../../mod/ip/mod.ts";
import type { JsonValue, Lease } from "../../mod/lease/mod.ts";
import { type KernelEvent, libc, monitor, Netlink, type Operation } from "../../mod/sys/mod.ts";
import { NetworkNamespace } from "../../tests/lab/netns.ts";
import type { Backend, BackendContext, Network } from "../backend.ts";
import { leaseAttributes } from "../lease_attributes.ts";
import { NETWORK } from "./unit_kit.ts";

export { makeLease, NETWORK } from "./unit_kit.ts";

// Loaded once for the process: Deno 2.4 takes it for a leak of the test that happens to be the first.
libc();

/** Last octet of the first host's address, as in the guide. */
const FIRST = 100;

/** An address of the loopback device whose coming marks the end of an observation. */
const FENCE = parseIPv4("127.0.0.77")!;

/** RT_SCOPE_HOST of linux/rtnetlink.h. */
const SCOPE_HOST = 254;

/** A host in a namespace, which its lab owns. */
export class BackendHost implements Disposable {
  readonly namespace: NetworkNamespace;
  readonly netlink: Netlink;
  /** `eth1`, where the other hosts are. */
  readonly external: ExternalInterface;

  /** @param address of `eth1`, which must be there */
  constructor(namespace: NetworkNamespace, address: string) {
    this.namespace = namespace;
    this.netlink = Netlink.open({ netns: namespace.path });
    const { name, index, mtu } = this.netlink.link("eth1")!;
    const local = parseIPv4(address)!;
    this.external = { name, index, mtu, address: local, publicIP: local };
  }

  /** Of `eth1`: `172.28.128.100`. */
  get address(): string {
    return formatIPv4(this.external.address);
  }

  /**
   * Returns the context of a backend on this host.
   *
   * @param backend the config's `Backend`
   */
  async context(
    backend: Readonly<Record<string, JsonValue>>,
    overrides: Partial<BackendContext> & { readonly network?: string } = {},
  ): Promise<BackendContext> {
    const { network = NETWORK, ...rest } = overrides;
    return {
      config: await decodeNetworkConfig(JSON.stringify({ Network: network, Backend: backend })),
      external: this.external,
      netlink: this.netlink,
      netns: this.namespace.path,
      formerNetworks: [],
      ...rest,
    };
  }

  /** Runs `ip -j` or `ip -j -d` and the like. */
  async ipJson<T = Record<string, unknown>>(...args: string[]): Promise<T[]> {
    return compact(await this.namespace.ip("-j", ...args));
  }

  /** The FDB entries with a remote VTEP, of all devices. */
  async fdb(): Promise<{ mac: string; ifname: string; dst: string; state?: string }[]> {
    const entries = compact<{ mac: string; ifname: string; dst?: string; state?: string }>(
      await this.namespace.bridge("-j", "fdb", "show"),
    );
    return entries.flatMap((entry) =>
      entry.dst === undefined ? [] : [{ ...entry, dst: entry.dst }]
    );
  }

  /**
   * All that a backend may touch, in iproute2's output: one line per link, address, route of the main
   * table, permanent neighbour and FDB entry, in order.
   */
  async state(): Promise<string[]> {
    const [links, addresses, routes, neighbours, fdb] = await Promise.all([
      this.ipJson<IpLink>("-d", "link", "show"),
      this.ipJson<IpAddress>("-4", "address", "show"),
      this.ipJson("-4", "-d", "route", "show", "table", "main"),
      this.ipJson("-4", "neighbour", "show", "nud", "permanent"),
      this.fdb(),
    ]);
    return [
      ...links.map(({ ifindex, ifname, mtu, address, flags, linkinfo }) => {
        // A bridge's data are full of running timers.
        const { info_kind, info_data } = linkinfo ?? {};
        const details = info_kind === "vxlan" ? ` ${JSON.stringify(info_data)}` : "";
        return `link ${ifindex} ${ifname} ${mtu} ${address} ` +
          `${flags.includes("UP") ? "up" : "down"} ${info_kind}${details}`;
      }),
      ...addresses.flatMap(({ ifname, addr_info }) =>
        addr_info.map(({ local, prefixlen, scope }) =>
          `address ${ifname} ${local}/${prefixlen} ${scope}`
        )
      ),
      // The kernel sets and clears this flag up to a second after a process has closed or opened a TUN device.
      ...routes.map((route) => `route ${JSON.stringify(route)}`.replace('"linkdown"', "")),
      ...neighbours.map((neighbour) => `neighbour ${JSON.stringify(neighbour)}`),
      ...fdb.map((entry) => `fdb ${JSON.stringify(entry)}`),
    ].sort();
  }

  /**
   * The changes of addresses, routes, neighbours and FDB entries that an action brings about, and
   * removals of links, as the kernel reports them. Changes of the underlay's neighbours are left
   * out: they come and go by themselves.
   */
  async changesDuring(action: () => Promise<unknown>): Promise<KernelEvent[]> {
    const stop = new AbortController();
    const seen = monitor(["link", "address", "route", "neighbour"], {
      netns: this.namespace.path,
      signal: stop.signal,
    });
    const fence: Operation = {
      op: "add",
      kind: "address",
      object: {
        index: this.netlink.link("lo")!.index,
        address: FENCE,
        prefixLength: 32,
        scope: SCOPE_HOST,
        flags: 0,
      },
    };
    const changes: KernelEvent[] = [];
    try {
      await action();
      this.netlink.execute([fence]);
      for await (const events of seen) {
        for (const event of events) {
          if (event.type === "address" && event.address.address === FENCE) return changes;
          const underlay = event.type.startsWith("neighbour") && "neighbour" in event &&
            event.neighbour.index === this.external.index;
          const { sender: _, ...change } = event;
          if (change.type !== "link" && !underlay) changes.push(change);
        }
      }
      throw new Error("the monitor ended");
    } finally {
      stop.abort();
      this.netlink.execute([{ ...fence, op: "delete" }]);
    }
  }

  /**
   * Runs the network's watch for damage inside the namespace, until it is disposed of.
   *
   * @returns what was to be repaired so far; it grows
   */
  watch(network: Network): AsyncDisposable & { readonly damage: string[] } {
    const damage: string[] = [];
    const stop = new AbortController();
    let ended = Promise.resolve();
    // The watch opens its socket before it returns its promise, hence in this namespace.
    this.namespace.enter(() => {
      ended = network.run(stop.signal, (what) => damage.push(what));
    });
    return {
      damage,
      [Symbol.asyncDispose]: async () => {
        stop.abort();
        await ended;
      },
    };
  }

  /**
   * Pings once a second, 64 bytes or more.
   *
   * @param options `source` address; `size` of the payload in bytes
   * @returns how many of the requests were answered
   */
  async ping(
    target: string,
    { source, size = 56, count = 1 }: { source?: string; size?: number; count?: number } = {},
  ): Promise<number> {
    const { stdout, stderr } = await new Deno.Command("ip", {
      args: [
        ...["netns", "exec", this.namespace.name, "busybox", "ping"],
        ...["-c", String(count), "-W", "1", "-s", String(size)],
        ...(source === undefined ? [] : ["-I", source]),
        target,
      ],
    }).output();
    const output = new TextDecoder().decode(stdout);
    const received = /(\d+) packets received/.exec(output)?.[1];
    if (received === undefined) {
      throw new Error(`ping ${target}: ${output}${new TextDecoder().decode(stderr)}`);
    }
    return Number(received);
  }

  /** How many packets the host had to fragment so far (FragOKs of RFC 4293), inner and outer. */
  async fragmented(): Promise<number> {
    const text = await this.namespace.exec("cat", "/proc/net/snmp");
    const [names, values] = text.split("\n").filter((line) => line.startsWith("Ip:"))
      .map((line) => line.split(" "));
    return Number(values![names!.indexOf("FragOKs")]);
  }

  [Symbol.dispose](): void {
    this.netlink[Symbol.dispose]();
  }
}

/** Two hosts, 172.28.128.100 and .101, whose `eth1` is one wire. */
export class BackendLab implements AsyncDisposable {
  readonly hosts: readonly [BackendHost, BackendHost];
  readonly #stack: AsyncDisposableStack;

  private constructor(hosts: readonly [BackendHost, BackendHost], stack: AsyncDisposableStack) {
    this.hosts = hosts;
    this.#stack = stack;
  }

  /** The first host. */
  get host(): BackendHost {
    return this.hosts[0];
  }

  /**
   * Makes the namespaces and the wire.
   *
   * @param options `mtu` of the wire, in bytes. @default 1500
   */
  static async make({ mtu = 1500 }: { mtu?: number } = {}): Promise<BackendLab> {
    await using stack = new AsyncDisposableStack();
    const here = stack.use(await NetworkNamespace.create());
    const there = stack.use(await NetworkNamespace.create());
    const size = ["mtu", String(mtu)];
    await here.ip(
      ...["link", "add", "name", "eth1", ...size, "type", "veth"],
      ...["peer", "name", "eth1", ...size, "netns", there.name],
    );
    const addresses = [`172.28.128.${FIRST}`, `172.28.128.${FIRST + 1}`];
    for (const [i, namespace] of [here, there].entries()) {
      await namespace.ip("address", "add", `${addresses[i]}/24`, "dev", "eth1");
      await namespace.ip("link", "set", "eth1", "up");
    }
    const hosts = [
      stack.use(new BackendHost(here, addresses[0]!)),
      stack.use(new BackendHost(there, addresses[1]!)),
    ] as const;
    return new BackendLab(hosts, stack.move());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/**
 * Does on a host what the agent does until peers are programmed.
 *
 * @returns the network and the host's own lease of `subnet`
 */
export async function prepare(
  backend: Backend,
  context: BackendContext,
  subnet: string,
): Promise<{ network: Network; own: Lease }> {
  const network = await backend.prepare(context);
  const attributes = leaseAttributes(backend, network, context.external, "v0.7");
  return { network, own: { subnet: Prefix.parse(subnet)!, attributes, revision: "1" } };
}

interface IpLink {
  readonly ifindex: number;
  readonly ifname: string;
  readonly mtu: number;
  readonly address?: string;
  readonly flags: readonly string[];
  readonly linkinfo?: { readonly info_kind?: string; readonly info_data?: unknown };
}

interface IpAddress {
  readonly ifname: string;
  readonly addr_info: readonly { local: string; prefixlen: number; scope: string }[];
}

/** iproute2 prints an empty object for what its filters left out, and nothing for an empty list. */
function compact<T>(json: string): T[] {
  if (json.trim() === "") return [];
  return (JSON.parse(json) as T[]).filter((entry) => Object.keys(entry as object).length > 0);
}
