import { type Datagram, sendDatagrams } from "../../lab/send_datagram.ts";
import { Namespace } from "./firewall_namespace.ts";

/** A container of this host, a container of a peer, and a host outside the network. */
export interface Neighbours {
  readonly container: Namespace;
  readonly peer: Namespace;
  readonly outside: Namespace;
}

/**
 * Connects a host:
 *
 *     container --- host --- peer: another host's container, as if through the overlay
 *                      \---- outside: not of the network
 */
export async function withNeighbours(
  host: Namespace,
  body: (neighbours: Neighbours) => Promise<void>,
): Promise<void> {
  await using container = await Namespace.make();
  await using peer = await Namespace.make();
  await using outside = await Namespace.make();
  for (
    const [namespace, device, gateway, address] of [
      [container, "docker0", "10.20.93.1", "10.20.93.2"],
      [peer, "flannel.1", "10.20.7.1", "10.20.7.2"],
      [outside, "eth1", "192.0.2.1", "192.0.2.2"],
    ] as const
  ) {
    await host.connect({ device, address: `${gateway}/24` }, namespace, {
      device: "eth0",
      address: `${address}/24`,
    });
    await namespace.run("ip", "route", "add", "default", "via", gateway);
  }
  await host.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1");
  await body({ container, peer, outside });
}

/**
 * Pings once; returns the source address that the target saw, and whether the reply came back.
 *
 * @param size of the payload in bytes; distinguishes pings that run at the same time
 */
export async function sourceSeen(
  from: Namespace,
  to: Namespace,
  address: string,
  size: number,
): Promise<string> {
  // ip[2:2] is the total length: 20 bytes of IPv4 header and 8 of ICMP besides the payload.
  const filter = ["icmp[icmptype] == icmp-echo and dst host", address];
  await using capture = await Capture.start(to, ...filter, `and ip[2:2] == ${28 + size}`);
  const ping = ["busybox", "ping", "-c", "1", "-W", "1", "-s", String(size), address];
  const answered = await from.succeeds(...ping);
  // tcpdump ends by itself after an answered ping. Without an answer ping has waited a second already.
  const output = await capture.first(answered ? 5_000 : 0);
  const source = /IP (\d+\.\d+\.\d+\.\d+) >/.exec(output)?.[1];
  if (source === undefined) return "nothing";
  return answered ? source : `${source}, unanswered`;
}

/** Port of a datagram that nothing drops: what is not there when it comes is lost. */
const SENTINEL = 9;

/**
 * Returns whether a UDP datagram arrives at a namespace: of it and one that follows to another port, from the
 * sender's own address, the first is seen.
 */
export async function arrives(
  from: Namespace,
  to: Namespace,
  datagram: Datagram,
): Promise<boolean> {
  const { address, port } = datagram;
  const filter = `udp and dst host ${address} and (dst port ${port} or dst port ${SENTINEL})`;
  await using capture = await Capture.start(to, filter);
  await from.run(...sendDatagrams(datagram, { address, port: SENTINEL }));
  const output = await capture.first(5_000);
  const seen = /> \d+\.\d+\.\d+\.\d+\.(\d+):/.exec(output)?.[1];
  if (seen === undefined) throw new Error(`neither datagram has arrived at ${address}: ${output}`);
  return seen === String(port);
}

/** The first packet that a filter of tcpdump lets through at a namespace's eth0. */
class Capture implements AsyncDisposable {
  readonly #tcpdump: Deno.ChildProcess;
  #drained: Promise<void> = Promise.resolve();

  private constructor(tcpdump: Deno.ChildProcess) {
    this.#tcpdump = tcpdump;
  }

  /** Resolves once packets are captured. */
  static async start(at: Namespace, ...filter: string[]): Promise<Capture> {
    const options = ["-n", "-l", "--immediate-mode", "-c", "1", "-i", "eth0"];
    const capture = new Capture(at.spawn("tcpdump", ...options, ...filter));
    const errors = capture.#tcpdump.stderr.getReader();
    const decoder = new TextDecoder();
    for (let output = ""; !output.includes("listening on");) {
      const { value, done } = await errors.read();
      if (done) throw new Error(`tcpdump: ${output}`);
      output += decoder.decode(value);
    }
    capture.#drained = (async () => {
      while (!(await errors.read()).done);
    })();
    return capture;
  }

  /** Returns tcpdump's line about the packet; nothing when it has not arrived within the time, in milliseconds. */
  async first(timeout: number): Promise<string> {
    const timer = setTimeout(() => this.#tcpdump.kill("SIGINT"), timeout);
    const output = await new Response(this.#tcpdump.stdout).text();
    clearTimeout(timer);
    return output;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#tcpdump.kill("SIGINT");
    } catch {
      // It has ended by itself.
    }
    await this.#tcpdump.status;
    await this.#drained;
    if (!this.#tcpdump.stdout.locked) await this.#tcpdump.stdout.cancel();
  }
}
