import { inNetworkNamespace } from "../../mod/sys/mod.ts";
import { run } from "./command.ts";

/** A network namespace of its own for a test; gone, with all that is in it, when disposed. */
export class NetworkNamespace implements AsyncDisposable {
  readonly name: string;
  /** For `Netlink.open({ netns })` and the like. */
  readonly path: string;

  private constructor(name: string) {
    this.name = name;
    this.path = `/run/netns/${name}`;
  }

  /**
   * Makes a namespace with the loopback interface up.
   *
   * @throws {Error} with the error of `ip`, for example without root
   */
  static async create(): Promise<NetworkNamespace> {
    const namespace = new NetworkNamespace(`flt-${Deno.pid}-${crypto.randomUUID().slice(0, 8)}`);
    await run(["ip", "netns", "add", namespace.name]);
    await namespace.ip("link", "set", "lo", "up");
    return namespace;
  }

  /** Runs iproute2's `ip` inside. @returns what it printed */
  ip(...args: string[]): Promise<string> {
    return run(["ip", "-n", this.name, ...args]);
  }

  /** Runs iproute2's `bridge` inside. @returns what it printed */
  bridge(...args: string[]): Promise<string> {
    return run(["bridge", "-n", this.name, ...args]);
  }

  /** Runs any command inside. @returns what it printed */
  exec(...command: string[]): Promise<string> {
    return run(["ip", "netns", "exec", this.name, ...command]);
  }

  /** Runs a synchronous function with this thread inside: sockets it makes stay there. */
  enter<T>(body: () => T): T {
    return inNetworkNamespace(this.path, body);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run(["ip", "netns", "del", this.name]);
  }
}
