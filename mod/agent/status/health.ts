/** Bounds of {@linkcode findings}, in milliseconds. */
export interface HealthBounds {
  /** How long the agent may fail to follow the store. */
  readonly watch: number;
  /** How long one event may take. @default 120_000 */
  readonly handling?: number;
  /** How long a renewal may be overdue. @default 300_000 */
  readonly renewal?: number;
}

/** Input of {@linkcode findings}; times are those of performance.now(). */
export interface HealthFacts {
  /** The current step of the agent, and its start. */
  readonly handling: { readonly what: string; readonly since: number } | undefined;
  /** Since when changes are followed or, with an error, are not. */
  readonly watch: { readonly since: number; readonly error: string | undefined } | undefined;
  /** The lease, its renewal and its expiry; both are absent for a reservation. */
  readonly lease:
    | { readonly subnet: string; readonly renewal?: number; readonly expiry?: number }
    | undefined;
  /** Reason for which the data path carries no packets. */
  readonly stopped: string | undefined;
}

/** A reason for which the agent is unhealthy. */
export interface Finding {
  /** `agent`: the agent is stuck, and a restart may help. `store`: the store does not do its part. */
  readonly blame: "agent" | "store";
  /** One line. */
  readonly reason: string;
}

/**
 * Returns the reasons for which an agent is unhealthy. Waiting at the start is not one: `/readyz` reports it.
 *
 * @param now as performance.now() returns it
 */
export function findings(
  { handling, watch, lease, stopped }: HealthFacts,
  bounds: HealthBounds,
  now: number,
): Finding[] {
  const { handling: longest = 120_000, renewal: overdue = 300_000 } = bounds;
  const found: Finding[] = [];
  const seconds = (since: number) => ((now - since) / 1000).toFixed(0);
  if (handling !== undefined && now - handling.since > longest) {
    found.push({
      blame: "agent",
      reason: `event loop: it has been at one event (${handling.what}) for ${
        seconds(handling.since)
      } s`,
    });
  }
  if (stopped !== undefined) found.push({ blame: "agent", reason: `data path: ${stopped}` });
  if (watch?.error !== undefined && now - watch.since > bounds.watch) {
    found.push({
      blame: "store",
      reason: `watch: the store has not been followed for ${
        seconds(watch.since)
      } s: ${watch.error}`,
    });
  }
  if (lease?.expiry !== undefined && now > lease.expiry) {
    found.push({
      blame: "store",
      reason: `renewal: lease ${lease.subnet} ran out ${seconds(lease.expiry)} s ago`,
    });
  } else if (lease?.renewal !== undefined && now - lease.renewal > overdue) {
    found.push({
      blame: "store",
      reason: `renewal: lease ${lease.subnet} was to be renewed ${seconds(lease.renewal)} s ago`,
    });
  }
  return found;
}
