import { ChildLimit } from "../sys/child_limit.ts";
import { FirewallError } from "./errors.ts";
import type { FirewallOptions } from "./firewall.ts";

/**
 * Seconds to wait for the xtables lock, which another iptables holds while it works. Shorter than the limit of a
 * command, so that iptables itself reports the lock.
 */
export const LOCK_SECONDS = 20;

/** System directories that are not in the PATH of `su` and cron jobs. */
const SYSTEM_DIRECTORIES = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/** Options of {@linkcode HostCommands}. */
export interface HostCommandsOptions extends FirewallOptions {
  /** Limit of a command in milliseconds. @default 30000 */
  readonly timeLimit?: number;
}

/** Finds and runs the host's commands: without a shell, limited in time, and ended by a signal. */
export class HostCommands {
  readonly searchPath: readonly string[];
  readonly #prefix: readonly string[];
  readonly #signal: AbortSignal | undefined;
  readonly #timeLimit: number;
  readonly #onCommand: (name: string) => void;

  constructor(options: HostCommandsOptions) {
    this.searchPath = options.searchPath ?? defaultSearchPath();
    this.#prefix = options.commandPrefix ?? [];
    this.#signal = options.signal;
    this.#timeLimit = options.timeLimit ?? 30_000;
    this.#onCommand = options.onCommand ?? (() => {});
  }

  /**
   * Returns the path of an executable; `undefined` when no directory has one. Cost: 12 us for each directory, a
   * seventh of what a search that does not block would take.
   */
  find(name: string): string | undefined {
    for (const directory of this.searchPath) {
      const path = `${directory}/${name}`;
      try {
        const { isFile, mode } = Deno.statSync(path);
        if (isFile && ((mode ?? 0) & 0o111) !== 0) return path;
      } catch {
        // Absent, or in an unreadable directory: search the next one.
      }
    }
    return undefined;
  }

  /**
   * Runs a command to its end.
   *
   * @param program absolute path, from {@linkcode find}
   * @param args arguments, passed without a shell
   * @param input standard input; none when absent
   * @throws {FirewallError} when it cannot be started, exceeds the limit, or exits with a status other than 0; the
   * message has the status and the standard error
   * @returns the standard output
   */
  async run(program: string, args: readonly string[], input?: string): Promise<string> {
    this.#signal?.throwIfAborted();
    const name = program.slice(program.lastIndexOf("/") + 1);
    const [executable, ...rest] = [...this.#prefix, program, ...args] as [string, ...string[]];
    this.#onCommand(name);
    let child: Deno.ChildProcess;
    try {
      child = new Deno.Command(executable, {
        args: rest,
        stdin: input === undefined ? "null" : "piped",
        stdout: "piped",
        stderr: "piped",
      }).spawn();
    } catch (cause) {
      throw new FirewallError(`${name} could not be started: ${(cause as Error).message}`, {
        cause,
      });
    }
    using limit = new ChildLimit(child, this.#timeLimit, this.#signal);
    const ended = await Promise.race([
      Promise.all([child.output(), input === undefined ? undefined : feed(child.stdin, input)]),
      limit.killed,
    ]);
    this.#signal?.throwIfAborted();
    if (ended === undefined) {
      throw new FirewallError(`${name} had not ended after ${this.#timeLimit / 1000} seconds`);
    }
    const [output] = ended;
    if (!output.success) {
      const reason = oneLine(new TextDecoder().decode(output.stderr)) || "it gave no reason";
      const module = MODULES.find(([, symptom]) => symptom.test(reason))?.[0];
      const advice = module && ` (the module ${module} is not loaded: modprobe ${module})`;
      throw new FirewallError(
        `${name} failed with status ${output.code}: ${reason}${advice ?? ""}`,
        { status: output.code, ...(module && { missingModule: module }) },
      );
    }
    return new TextDecoder().decode(output.stdout);
  }
}

/** Kernel modules, and what nft and iptables 1.8 print without them: for nf_tables on both, for iptables-legacy. */
const MODULES: readonly (readonly [module: string, symptom: RegExp])[] = [
  ["nf_tables", /initialize (?:nft|Netlink socket): Protocol not supported/],
  // Where the kernel has nfnetlink built in, as Debian's 7.2.
  ["nf_tables", /(?:cache initialization failed|generation id): Invalid argument/],
  ["ip_tables", /unable to initialize table|Table does not exist \(do you need to insmod/],
];

/** Writes all of `text`. Ignores a child that ends without reading it: its exit status shows the reason. */
async function feed(stdin: WritableStream<Uint8Array>, text: string): Promise<void> {
  const writer = stdin.getWriter();
  try {
    await writer.write(new TextEncoder().encode(text));
    await writer.close();
  } catch {
    await writer.abort().catch(() => {});
  }
}

function oneLine(text: string): string {
  return text.split("\n").map((line) => line.trim()).filter((line) => line !== "").join("; ");
}

function defaultSearchPath(): string[] {
  const path = (Deno.env.get("PATH") ?? "").split(":").filter((directory) => directory !== "");
  return [...new Set([...path, ...SYSTEM_DIRECTORIES])];
}
