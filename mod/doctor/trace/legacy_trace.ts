import { inNetworkNamespace, PacketLogSocket } from "../../sys/mod.ts";
import { type Headers, readHeaders } from "./packet.ts";

/** A step of a traced packet through iptables-legacy, as the target TRACE logs it. */
export interface LegacyTraceEvent {
  readonly table: string;
  readonly chain: string;
  /** `return`: the end of a chain that is not built in. */
  readonly type: "rule" | "policy" | "return";
  /** Of the rule in its chain, from 1; of what follows the last one at its end. */
  readonly number: number;
}

/**
 * Reads the prefix of a logged packet.
 *
 * @returns `undefined` for packets that the target TRACE did not log
 */
export function readLegacyTrace(prefix: string): LegacyTraceEvent | undefined {
  const match = /^TRACE: (\w+):(.+):(rule|policy|return):(\d+) ?$/.exec(prefix);
  if (match === null) return undefined;
  const [, table, chain, type, number] = match as unknown as [
    string,
    string,
    string,
    string,
    string,
  ];
  return { table, chain, type: type as LegacyTraceEvent["type"], number: Number(number) };
}

/** Tables of iptables-legacy that are there, by name (in the thread's network namespace). */
const TABLES = "/proc/thread-self/net/ip_tables_names";
/** Selects netfilter's logger of IPv4 packets (Documentation/networking/nf_conntrack-sysctl and nf_log). */
const LOGGER = "/proc/sys/net/netfilter/nf_log/2";
const NETLINK_LOGGER = "nfnetlink_log";
/** Restores the logger when its input ends, also when this process is killed. */
const GUARD = `trap "" INT TERM HUP; read line; echo "$1" > ${LOGGER}`;

/** Receives iptables-legacy's trace of packets that nf_tables traces: both use the mark skb->nf_trace. */
export class LegacyTrace implements AsyncDisposable {
  readonly #socket: PacketLogSocket;
  readonly #restore: () => Promise<void>;

  private constructor(socket: PacketLogSocket, restore: () => Promise<void>) {
    this.#socket = socket;
    this.#restore = restore;
  }

  /** True when iptables-legacy has tables here. */
  static isNeeded(netns: string | undefined): boolean {
    return read(netns, TABLES) !== undefined && read(netns, TABLES) !== "";
  }

  /**
   * Starts to receive. The kernel sends traces to one logger for each family, so nfnetlink_log is IPv4's logger
   * meanwhile. Rules with the target LOG are not affected.
   *
   * @param netns path of a network namespace; `undefined` is the thread's own
   * @throws {SysError} EBUSY when another program listens to NFLOG's group 0
   */
  static start(netns: string | undefined): LegacyTrace {
    const socket = new PacketLogSocket({ netns });
    try {
      const former = read(netns, LOGGER);
      if (former === NETLINK_LOGGER) return new LegacyTrace(socket, () => Promise.resolve());
      const guard = new Deno.Command("sh", {
        args: ["-c", GUARD, "sh", former ?? "NONE"],
        ...{ stdin: "piped", stdout: "null", stderr: "null" },
      });
      const child = inNetworkNamespace(netns, () => guard.spawn());
      write(netns, NETLINK_LOGGER);
      return new LegacyTrace(socket, async () => {
        await child.stdin.close();
        const { success } = await child.status;
        if (!success) write(netns, former ?? "NONE");
      });
    } catch (error) {
      socket[Symbol.dispose]();
      throw error;
    }
  }

  /** Returns the queued events of all traced packets. */
  receive(): { readonly headers: Headers; readonly event: LegacyTraceEvent }[] {
    return this.#socket.receive().flatMap(({ prefix, packet }) => {
      const [headers, event] = [readHeaders(packet), readLegacyTrace(prefix)];
      return headers === undefined || event === undefined ? [] : [{ headers, event }];
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#restore();
    } finally {
      this.#socket[Symbol.dispose]();
    }
  }
}

function read(netns: string | undefined, path: string): string | undefined {
  try {
    return inNetworkNamespace(netns, () => Deno.readTextFileSync(path)).trim();
  } catch {
    return undefined;
  }
}

function write(netns: string | undefined, logger: string): void {
  inNetworkNamespace(netns, () => Deno.writeTextFileSync(LOGGER, logger));
}
