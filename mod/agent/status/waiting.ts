import type { Warning } from "../core/warning_log.ts";

/** A network without an agent: not started yet, or ended with an error. */
export interface WaitingView {
  /** As `-networks` names it; empty without. */
  readonly name: string;
  /** Path of subnet.env. */
  readonly subnetFile: string;
  /** The missing condition; `undefined` before one was found. */
  readonly warning: Warning | undefined;
}

/** The networks that wait, for the status. */
export class WaitingNetworks {
  readonly #views = new Map<string, WaitingView>();

  /** All networks that wait, by name. */
  get views(): readonly WaitingView[] {
    return [...this.#views.values()].sort((a, b) => a.name < b.name ? -1 : 1);
  }

  /** Adds a network. */
  begin(name: string, subnetFile: string): void {
    this.#views.set(name, { name, subnetFile, warning: undefined });
  }

  /** Records why a network waits. Ignores a network that does not. */
  report(name: string, message: string): void {
    const view = this.#views.get(name);
    if (view === undefined) return;
    const since = view.warning?.since ?? Date.now();
    this.#views.set(name, { ...view, warning: { since, message } });
  }

  /** Removes a network that has an agent now, or is not served any more. */
  end(name: string): void {
    this.#views.delete(name);
  }
}
