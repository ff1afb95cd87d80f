import type { IPv4, Prefix } from "../../ip/mod.ts";
import { verbose } from "../../observe/mod.ts";
import type { Answer, ReceivedQuery, TargetState } from "../../probe/mod.ts";
import { Netlink, SysError } from "../../sys/mod.ts";
import { containerBridge, findContainer } from "./containers.ts";
import type { AgentView } from "../status/view.ts";

/** Milliseconds that the container of another host has to answer. */
const TIMEOUT_MS = 300;
/** Echo requests sent to it, in case one is lost. */
const COPIES = 2;

/** The part of an agent's view that decides whether to answer a query. */
type View = Pick<AgentView, "lease"> & {
  readonly known: Pick<AgentView["known"], "leases">;
};

/**
 * Answers queries about containers from `flanneld doctor` on other hosts, until the signal aborts. If the host
 * refuses the socket, no agent answers, and `doctor` on the other host reports that.
 */
export async function answerContainers(
  views: () => readonly View[],
  signal: AbortSignal,
): Promise<void> {
  try {
    const { answerContainerQueries } = await import("../../probe/answer_containers.ts");
    const responder = new ContainerResponder(views, signal);
    const onError = (message: string) => verbose(1, message);
    await answerContainerQueries((query) => responder.answer(query), { signal, onError });
  } catch (error) {
    if (signal.aborted) return;
    verbose(1, `cannot answer flanneld doctor on other hosts: ${(error as Error).message}`);
  }
}

/** Decides which queries of other hosts to answer, and finds the answers. */
export class ContainerResponder {
  readonly #views: () => readonly View[];
  readonly #signal: AbortSignal;
  readonly #netns: string | undefined;
  /** Searches under way, by the lease's key. */
  readonly #searches = new Map<number, Promise<Found>>();

  /** @param netns network namespace of the containers; the calling thread's by default */
  constructor(views: () => readonly View[], signal: AbortSignal, netns?: string) {
    this.#views = views;
    this.#signal = signal;
    this.#netns = netns;
  }

  /**
   * Answers a query that came through the network: from another host's lease to this host's, by the interface
   * that packets to that lease leave by. Does not answer other queries.
   */
  async answer({ from, to, target, ...query }: ReceivedQuery): Promise<Answer | undefined> {
    const view = this.#views().find(({ lease }) => lease?.subnet.contains(to));
    const own = view?.lease?.subnet;
    if (view === undefined || own === undefined) return undefined;
    // Without a tunnel, Docker's masquerade gives packets the address of their host.
    const asker = [...view.known.leases.values()].find(({ subnet, attributes: { publicIP } }) =>
      !subnet.equals(own) && (subnet.contains(from) || publicIP === from)
    )?.subnet;
    if (asker === undefined || !this.#isBy(query.interface, asker)) return undefined;
    const [found, targetState] = await Promise.all([
      this.#find(own),
      target === undefined
        ? "not-asked" as const
        : asker.contains(target)
        ? this.#echo(to, target)
        : "not-sent" as const,
    ]);
    return { ...found, target: targetState };
  }

  /**
   * Returns whether packets to a lease leave by this interface; packets from other interfaces are not of the
   * network.
   */
  #isBy(index: number, { address }: Prefix): boolean {
    using netlink = Netlink.open({ netns: this.#netns });
    try {
      return netlink.routeTo(address).oif === index;
    } catch (error) {
      if (error instanceof SysError) return false;
      throw error;
    }
  }

  /** Joins a running search. The container of an earlier search may not exist any more. */
  #find(lease: Prefix): Promise<Found> {
    let search = this.#searches.get(lease.key);
    if (search === undefined) {
      search = this.#search(lease).finally(() => this.#searches.delete(lease.key));
      this.#searches.set(lease.key, search);
    }
    return search;
  }

  async #search(lease: Prefix): Promise<Found> {
    const { Prober } = await import("../../probe/mod.ts");
    using netlink = Netlink.open({ netns: this.#netns });
    const bridge = containerBridge(netlink, lease);
    if (bridge === undefined) return { containers: "no-bridge", container: undefined };
    if (bridge.ports === 0) return { containers: "none", container: undefined };
    await using prober = Prober.open({ netns: this.#netns });
    const container = await findContainer(netlink, bridge, prober, this.#signal);
    return { containers: container === undefined ? "silent" : "answers", container };
  }

  /** Sends an echo request from the queried address, which is in this host's lease. */
  async #echo(source: IPv4, target: IPv4): Promise<TargetState> {
    const { Prober } = await import("../../probe/mod.ts");
    await using prober = Prober.open({ netns: this.#netns, source });
    const outcomes = await prober.echo(new Array(COPIES).fill(target), {
      ...{ timeout: TIMEOUT_MS, signal: this.#signal },
    });
    if (outcomes.some(({ type }) => type === "reply")) return "answered";
    return outcomes.every(({ type }) => type === "not-sent") ? "not-sent" : "silent";
  }
}

/** The containers of a lease. */
type Found = Pick<Answer, "containers" | "container">;
