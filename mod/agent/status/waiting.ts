import type { Warning } from "../core/warning_log.ts";

/** A network that is to be served and has no agent: it has not begun, or has ended with an error. */
export interface WaitingView {
  /** As `-networks` names it; empty without. */
  readonly name: string;
  /** Path of subnet.env. */
  readonly subnetFile: string;
  /** What it waits for; `undefined` before anything was found to be missing. */
  readonly warning: Warning | undefined;
}

/** The networks that wait, for whoever asks. */
export class WaitingNetworks {
  readonly #views = new Map<string, WaitingView>();

  /** All there are, by name. */
  get views(): readonly WaitingView[] {
    return [...this.#views.values()].sort((a, b) => a.name < b.name ? -1 : 1);
  }

  /** A network is to be served. */
  begin(name: string, subnetFile: string): void {
    this.#views.set(name, { name, subnetFile, warning: undefined });
  }

  /** A network waits for something, or cannot be served for now. One that was given up stays so. */
  report(name: string, message: string): void {
    const view = this.#views.get(name);
    if (view === undefined) return;
    const since = view.warning?.since ?? Date.now();
    this.#views.set(name, { ...view, warning: { since, message } });
  }

  /** A network has an agent, or is not to be served any more. */
  end(name: string): void {
    this.#views.delete(name);
  }
}
