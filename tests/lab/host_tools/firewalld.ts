import type { LabHost } from "../host.ts";
import type { LabProcess } from "../process.ts";

/** Socket of the system bus of dbus-daemon(1). */
const BUS_SOCKET = "/run/dbus/system_bus_socket";

/** The configuration of firewalld's default zone as packaged, and the administrator's in its place. */
const ZONES = ["/usr/lib/firewalld/zones/public.xml", "/etc/firewalld/zones/public.xml"] as const;

/** Milliseconds that firewalld may take to start. */
const START_TIMEOUT = 60_000;

/** Asks the bus whether firewalld serves there. */
const NAME_HAS_OWNER = [
  ...["dbus-send", "--system", "--print-reply", "--dest=org.freedesktop.DBus"],
  ...["/org/freedesktop/DBus", "org.freedesktop.DBus.NameHasOwner"],
  "string:org.fedoraproject.FirewallD1",
];

/** Reads firewalld's state. firewall-cmd is Python and takes 0.2 s of processor time for the same. */
const STATE = [
  ...["dbus-send", "--system", "--print-reply=literal", "--dest=org.fedoraproject.FirewallD1"],
  ...["/org/fedoraproject/FirewallD1", "org.freedesktop.DBus.Properties.Get"],
  ...["string:org.fedoraproject.FirewallD1", "string:state"],
];

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

  /**
   * Starts firewalld, and waits until its rules are in place.
   *
   * @param port a TCP port that is open to everybody
   */
  static async start(host: LabHost, port: number): Promise<LabFirewalld> {
    const [packaged, own] = ZONES;
    const zone = await host.readTextFile(packaged);
    await host.writeTextFile(
      own,
      zone.replace("</zone>", `<port port="${port}" protocol="tcp"/>$&`),
    );
    const process = await host.spawn(["firewalld", "--nofork", "--nopid"]);
    const deadline = Date.now() + START_TIMEOUT;
    for (
      const [command, answer] of [[NAME_HAS_OWNER, "boolean true"], [STATE, "RUNNING"]] as const
    ) {
      for (;;) {
        const { stdout, stderr } = await host.run(command);
        if (stdout.trim().endsWith(answer)) break;
        if (!process.running || Date.now() > deadline) {
          await process.stop();
          throw new Error(`firewalld does not run: ${stdout}${stderr}\n${process.output}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
    return new LabFirewalld(host, process);
  }

  /** `firewall-cmd --reload`. */
  async reload(): Promise<void> {
    await this.#host.exec(["firewall-cmd", "--reload"]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stop();
  }
}
