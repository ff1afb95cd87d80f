import { info, warning } from "../../observe/mod.ts";
import { ChildLimit } from "../../sys/child_limit.ts";

/** Limit of the command, in milliseconds: Docker takes up to 10 s to stop each container. */
const TIME_LIMIT = 300_000;

/** Variables that the command does not inherit: a secret, and systemd's socket. */
const PRIVATE = /^(FLANNELD_|FLANNEL_ETCD|NOTIFY_SOCKET$|LISTEN_|WATCHDOG_)/;

/** Options of {@linkcode SubnetHook}. */
export interface SubnetHookOptions {
  /** Ends a command under way. */
  readonly signal: AbortSignal;
  /** Milliseconds. @default 300000 */
  readonly timeLimit?: number;
}

/**
 * The operator's command for a changed subnet: `-on-subnet-change`.
 *
 * Runs without a shell, with subnet.env's variables in its environment. The agent does not wait for it.
 * After changes that arrive while it runs it runs once more, for the last of them.
 */
export class SubnetHook {
  readonly #command: readonly [string, ...string[]];
  readonly #signal: AbortSignal;
  readonly #timeLimit: number;
  #next: Readonly<Record<string, string>> | undefined;
  #running: Promise<void> | undefined;

  /** @param command program and arguments */
  constructor(command: readonly [string, ...string[]], options: SubnetHookOptions) {
    this.#command = command;
    this.#signal = options.signal;
    this.#timeLimit = options.timeLimit ?? TIME_LIMIT;
  }

  /** Fulfilled when no command runs. */
  get idle(): Promise<void> {
    return this.#running ?? Promise.resolve();
  }

  /** Runs the command with these variables, and logs its result. */
  run(variables: Readonly<Record<string, string>>): void {
    this.#next = variables;
    this.#running ??= this.#runAll().finally(() => this.#running = undefined);
  }

  async #runAll(): Promise<void> {
    while (this.#next !== undefined && !this.#signal.aborted) {
      const variables = this.#next;
      this.#next = undefined;
      await this.#runOnce(variables);
    }
  }

  async #runOnce(variables: Readonly<Record<string, string>>): Promise<void> {
    const [program, ...args] = this.#command;
    const name = `-on-subnet-change command ${this.#command.join(" ")}`;
    const inherited = Object.entries(Deno.env.toObject())
      .filter(([variable]) => !PRIVATE.test(variable));
    let child: Deno.ChildProcess;
    try {
      child = new Deno.Command(program, {
        args,
        clearEnv: true,
        env: { ...Object.fromEntries(inherited), ...variables },
        stdin: "null",
        stdout: "null",
        stderr: "inherit",
      }).spawn();
    } catch (error) {
      return warning(`${name} cannot be started: ${(error as Error).message}`);
    }
    info(`Running ${name}`, { command: this.#command.join(" ") });
    using limit = new ChildLimit(child, this.#timeLimit, this.#signal);
    const { success, code, signal } = await child.status;
    if (this.#signal.aborted) return;
    if (limit.isLate) warning(`${name} was ended: it took more than ${this.#timeLimit / 1000} s`);
    else if (!success) {
      warning(`${name} failed: ${signal === null ? `exit code ${code}` : `ended by ${signal}`}`);
    }
  }
}
