import type { LabHost } from "../host.ts";
import type { LabProcess } from "../process.ts";

/** Milliseconds that NetworkManager may take to start. */
const START_TIMEOUT_MS = 30_000;

/**
 * A real NetworkManager in a lab host that has a message bus, as Debian packages it. It sees a read-only /sys of the
 * host's own, so it does not wait for udevd, which a lab host does not have; and none of the files that packages give it.
 */
export class LabNetworkManager implements AsyncDisposable {
  readonly #process: LabProcess;

  private constructor(process: LabProcess) {
    this.#process = process;
  }

  /** Starts NetworkManager, and waits until its start is complete. */
  static async start(host: LabHost): Promise<LabNetworkManager> {
    const process = await host.spawn([
      ...["unshare", "--mount", "sh", "-c"],
      "mount -t sysfs -o ro sysfs /sys && mount -t tmpfs tmpfs /usr/lib/NetworkManager/conf.d && " +
      "exec NetworkManager --no-daemon",
    ]);
    const deadline = Date.now() + START_TIMEOUT_MS;
    for (;;) {
      const { stdout, stderr } = await host.run(["nmcli", "-t", "-f", "STARTUP", "general"]);
      if (stdout.trim() === "started") return new LabNetworkManager(process);
      if (!process.running || Date.now() > deadline) {
        await process.stop();
        throw new Error(`NetworkManager does not run: ${stdout}${stderr}\n${process.output}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stop();
  }
}
