/** State of all networks of a process for systemd. */
export interface NetworksState {
  /** READY=1 is due. */
  readonly isReady: boolean;
  /** One line: `blue: Lease 10.71.16.0/24, vxlan on flannel.1, 3 peers; green: ...`. */
  readonly status: string;
}

/**
 * Combines the notifications of a process's networks to systemd.
 *
 * The process is ready once every network of its start has a lease, or after the grace period once any
 * network has one: a single broken network must not keep Docker from starting.
 */
export class NetworksReadiness {
  readonly #known: Set<string>;
  readonly #ready = new Set<string>();
  readonly #status = new Map<string, string>();
  #graceIsOver = false;

  /** @param known networks at the start of the process */
  constructor(known: Iterable<string>) {
    this.#known = new Set(known);
  }

  /** Applies a network's notification. */
  take(network: string, assignments: readonly string[]): void {
    for (const assignment of assignments) {
      if (assignment === "READY=1") this.#ready.add(network);
      else if (assignment.startsWith("STATUS=")) {
        this.#status.set(network, assignment.slice("STATUS=".length));
      }
    }
  }

  /** Forgets a removed network. */
  remove(network: string): void {
    this.#known.delete(network);
    this.#ready.delete(network);
    this.#status.delete(network);
  }

  /** Ends the grace period: from now on one ready network is enough. */
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
