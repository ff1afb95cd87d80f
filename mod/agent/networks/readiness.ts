/** What is told of all networks together. */
export interface NetworksState {
  /** systemd may be told READY=1. */
  readonly isReady: boolean;
  /** One line: `blue: Lease 10.71.16.0/24, vxlan on flannel.1, 3 peers; green: ...`. */
  readonly status: string;
}

/**
 * Adds up what the networks of one process tell systemd.
 *
 * Ready is the process once every network that was known at its start has its lease; or, where that
 * takes longer than the grace, once any has: one broken network is not to keep Docker from starting.
 */
export class NetworksReadiness {
  readonly #known: Set<string>;
  readonly #ready = new Set<string>();
  readonly #status = new Map<string, string>();
  #graceIsOver = false;

  /** @param known the networks that there are at the start */
  constructor(known: Iterable<string>) {
    this.#known = new Set(known);
  }

  /** Takes what a network told. */
  take(network: string, assignments: readonly string[]): void {
    for (const assignment of assignments) {
      if (assignment === "READY=1") this.#ready.add(network);
      else if (assignment.startsWith("STATUS=")) {
        this.#status.set(network, assignment.slice("STATUS=".length));
      }
    }
  }

  /** Forgets a network that is gone: nobody waits for it. */
  remove(network: string): void {
    this.#known.delete(network);
    this.#ready.delete(network);
    this.#status.delete(network);
  }

  /** One that is ready will do from now on. */
  endGrace(): void {
    this.#graceIsOver = true;
  }

  get state(): NetworksState {
    const all = [...this.#known].every((network) => this.#ready.has(network));
    const lines = [...this.#status].sort(([a], [b]) => a < b ? -1 : 1)
      .map(([network, line]) => `${network}: ${line}`);
    return {
      isReady: all || (this.#graceIsOver && this.#ready.size > 0),
      status: lines.length === 0 ? "No network yet" : lines.join("; "),
    };
  }
}
