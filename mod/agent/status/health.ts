/** Bounds of {@linkcode findings}, in milliseconds. */
export interface HealthBounds {
  /** How long the store's changes may not be followed. */
  readonly watch: number;
  /** How long one event may be handled. @default 120_000 */
  readonly handling?: number;
  /** How long a renewal may be overdue. @default 300_000 */
  readonly renewal?: number;
}

/** What {@linkcode findings} judges; times are those of performance.now(). */
export interface HealthFacts {
  /** What the agent is doing, and since when. */
  readonly handling: { readonly what: string; readonly since: number } | undefined;
  /** Since when changes are followed, or, with an error, are not. */
  readonly watch: { readonly since: number; readonly error: string | undefined } | undefined;
  /** The lease held: when it was to be renewed, and when it runs out; absent for one that does not. */
  readonly lease:
    | { readonly subnet: string; readonly renewal?: number; readonly expiry?: number }
    | undefined;
  /** Why the data path carries nothing. */
  readonly stopped: string | undefined;
}

/** Something for which the agent is not well. */
export interface Finding {
  /** `agent`: it does not work itself, and starting it anew may help. `store`: what it needs is not there. */
  readonly blame: "agent" | "store";
  /** One line. */
  readonly reason: string;
}

/**
 * Says for what an agent is stuck. What it waits for at its start is none of that: /readyz says so.
 *
 * @param now as performance.now() tells it
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
