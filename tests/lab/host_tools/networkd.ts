import type { LabHost } from "../host.ts";
import type { LabProcess } from "../process.ts";

/**
 * A real systemd-networkd in a lab host that has a message bus. It sees a read-only /sys of the host's own, so it does
 * not wait for udevd, which a lab host does not have.
 */
export class LabNetworkd implements AsyncDisposable {
  readonly #host: LabHost;
  #process: LabProcess | undefined;

  private constructor(host: LabHost) {
    this.#host = host;
  }

  /** Starts systemd-networkd, and waits until it answers. */
  static async start(host: LabHost): Promise<LabNetworkd> {
    const networkd = new LabNetworkd(host);
    await networkd.#start();
    return networkd;
  }

  /** `systemctl restart systemd-networkd`. */
  async restart(): Promise<void> {
    await this.#process?.stop();
    await this.#start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process?.stop();
  }

  async #start(): Promise<void> {
    await this.#host.exec([
      ...["sh", "-c"],
      "mkdir -p /run/systemd/netif && chown systemd-network: /run/systemd/netif",
    ]);
    this.#process = await this.#host.spawn([
      ...["unshare", "--mount", "sh", "-c"],
      "mount -t sysfs -o ro sysfs /sys && exec /usr/lib/systemd/systemd-networkd",
    ]);
    const deadline = Date.now() + 20_000;
    while ((await this.#host.run(["networkctl", "list", "eth1"])).code !== 0) {
      if (!this.#process.running || Date.now() > deadline) {
        throw new Error(`systemd-networkd does not answer\n${this.#process.output}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
