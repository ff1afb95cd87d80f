import { info, warning } from "../../observe/log/log.ts";

/** Milliseconds between two checks of the files. */
const CHECK_MS = 1_000;

/**
 * What was read from files, and is read again when one of them changes. The files are checked when somebody asks for
 * the content, at most once a second. A file that cannot be used leaves the former content in use.
 */
export class ReloadedFiles<T> {
  readonly #paths: readonly string[];
  readonly #read: () => Promise<T>;
  #value: T;
  #state: string;
  #checkedAt = performance.now();
  #checking: Promise<void> | undefined;
  #failure: string | undefined;

  private constructor(paths: readonly string[], read: () => Promise<T>, value: T, state: string) {
    this.#paths = paths;
    this.#read = read;
    this.#value = value;
    this.#state = state;
  }

  /** @throws what `read` throws */
  static async open<T>(
    paths: readonly (string | undefined)[],
    read: () => Promise<T>,
  ): Promise<ReloadedFiles<T>> {
    const named = paths.filter((path) => path !== undefined);
    // Before the reading, so that a change in between is found later.
    const state = await stateOf(named);
    return new ReloadedFiles(named, read, await read(), state);
  }

  /** What was read last. */
  get value(): T {
    return this.#value;
  }

  /** Returns the content of the files as they are, or as they were when they could be used. Never rejects. */
  async current(): Promise<T> {
    if (performance.now() - this.#checkedAt >= CHECK_MS) {
      this.#checking ??= this.#check().finally(() => {
        this.#checkedAt = performance.now();
        this.#checking = undefined;
      });
    }
    await this.#checking;
    return this.#value;
  }

  async #check(): Promise<void> {
    const state = await stateOf(this.#paths);
    if (state === this.#state) return;
    try {
      this.#value = await this.#read();
    } catch (error) {
      const { message } = error as Error;
      if (message !== this.#failure) {
        warning(`${message}; the content from before the change stays in use`);
      }
      this.#failure = message;
      return;
    }
    this.#state = state;
    this.#failure = undefined;
    info(`Read ${this.#paths.join(", ")} again after a change`);
  }
}

/** Returns a text that changes with the files. */
async function stateOf(paths: readonly string[]): Promise<string> {
  const states = paths.map(async (path) => {
    try {
      const { dev, ino, size, mode, uid, mtime } = await Deno.stat(path);
      return [dev, ino, size, mode, uid, mtime?.getTime()].join();
    } catch (error) {
      return (error as Error).name;
    }
  });
  return (await Promise.all(states)).join(";");
}
