import type { LabHost } from "../host.ts";
import type { LabProcess } from "../process.ts";

/** Socket of the system bus of dbus-daemon(1). */
const BUS_SOCKET = "/run/dbus/system_bus_socket";

/** Milliseconds that firewalld may take to start. */
const START_TIMEOUT = 60_000;

/** A system's message bus in a lab host. A host has one from its boot on, whatever starts later. */
export async function startMessageBus(host: LabHost): Promise<LabProcess> {
  await host.exec(["mkdir", "-p", BUS_SOCKET.replace(/\/[^/]*$/, "")]);
  const bus = await host.spawn([
    ...["dbus-daemon", "--system", "--nofork", "--nopidfile", "--print-address"],
  ]);
  await bus.waitFor(BUS_SOCKET);
  return bus;
}

/** A real firewalld in a lab host that has a message bus; as packaged, all devices in zone public. */
export class LabFirewalld implements AsyncDisposable {
  readonly #host: LabHost;
  readonly #process: LabProcess;

  private constructor(host: LabHost, process: LabProcess) {
    this.#host = host;
    this.#process = process;
  }

  /** Starts firewalld, and waits until its rules are in place. */
  static async start(host: LabHost): Promise<LabFirewalld> {
    const process = await host.spawn(["firewalld", "--nofork", "--nopid"]);
    const deadline = Date.now() + START_TIMEOUT;
    for (;;) {
      const { stdout, stderr } = await host.run(["firewall-cmd", "--state"]);
      if (stdout.trim() === "running") return new LabFirewalld(host, process);
      if (!process.running || Date.now() > deadline) {
        await process.stop();
        throw new Error(`firewalld does not run: ${stdout}${stderr}\n${process.output}`);
      }
    }
  }

  /** `firewall-cmd --reload`. */
  async reload(): Promise<void> {
    await this.#host.exec(["firewall-cmd", "--reload"]);
  }

  /** Opens a TCP port to everybody. */
  async openPort(port: number): Promise<void> {
    await this.#host.exec(["firewall-cmd", "--permanent", `--add-port=${port}/tcp`]);
    await this.reload();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stop();
  }
}
