/** A machine of a fake cloud. */
export interface CloudMachine {
  /** As the tester calls it: `host100`. */
  readonly name: string;
  /** As the provider calls what routes lead to: `eni-0a1b2c`. */
  readonly target: string;
  readonly address: string;
  /** Environment of its processes. */
  readonly env: Readonly<Record<string, string>>;
}

/** A fake of a cloud provider, as its tests see it. */
export interface CloudLab extends AsyncDisposable {
  /** Adds a machine. */
  addMachine(name: string, address: string): Promise<CloudMachine>;
  /** Ends a machine; routes to it lead nowhere from then on. */
  terminate(machine: CloudMachine): Promise<void>;
  /** Adds a route as an operator, or another host, would. */
  addRoute(destination: string, machine: CloudMachine): Promise<void>;
  removeRoute(destination: string): Promise<void>;
  /** All routes to machines, by the provider's own API, sorted: `10.20.1.0/24 host100`. */
  routes(): Promise<string[]>;
  /** Id of the table that has our routes when nobody names one. */
  readonly table: string;
  /** Answers to the next calls. */
  throttle(times: number): void;
  break(times: number): void;
  /** Denies making routes until {@linkcode CloudLab.heal}. */
  denyCreate(): void;
  /** Denies reading routes until {@linkcode CloudLab.heal}. */
  denyRead(): void;
  heal(): void;
  /** Calls that change something, since the last time this was asked. */
  takeChanges(): string[];
  /** Secrets that must not appear in a log. */
  readonly secrets: readonly string[];
}
