/**
 * Scopes of a process that works for several networks: code in a scope logs with the scope's name before
 * each line, and its notifications go to the scope instead of systemd.
 *
 * @module
 */

/** One network's part of the process. */
export interface Scope {
  /** Put before each of its log lines: `blue: Lease acquired: 10.71.16.0/24`. */
  readonly name: string;
  /** Receives the assignments that `notifySystemd()` would send to systemd. */
  notify(assignments: readonly string[]): void;
}

/** Runs something in a scope, with all that it starts, timers and promises included. */
export type RunInScope = <T>(scope: Scope, run: () => T) => T;

let current: () => Scope | undefined = () => undefined;
let opened: RunInScope | undefined;

/** The scope that the caller runs in; `undefined` outside of any, and always until there are scopes. */
export function currentScope(): Scope | undefined {
  return current();
}

/** Makes scopes possible in this process. Agents that serve one network never load what it takes. */
export async function openScopes(): Promise<RunInScope> {
  if (opened !== undefined) return opened;
  const { AsyncLocalStorage } = await import("node:async_hooks");
  const storage = new AsyncLocalStorage<Scope>();
  current = () => storage.getStore();
  return opened = (scope, run) => storage.run(scope, run);
}
