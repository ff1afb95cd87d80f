import { carrierOf, type Step } from "../../../backends/steps.ts";
import { abortable } from "../../async/abortable.ts";
import { sleep } from "../../async/sleep.ts";
import { formatIPv4, type IPv4 } from "../../ip/mod.ts";
import { measurePathMtu, probeUdpPort } from "../../probe/mod.ts";
import { reasonNotChecked } from "../errors.ts";
import type { HostFacts } from "../host_facts.ts";
import { hostNameOf, type PeerLease } from "../peers.ts";
import { reach, whatIsWrong } from "../reach.ts";
import type { ProbeKind } from "../trace/flows.ts";

/** Milliseconds to wait for an answer: TCP repeats a lost SYN after one second (RFC 6298). */
const TIMEOUT = 2_000;

/** Echo requests, in case one is lost. */
const COPIES = 2;

const ECHO: ProbeKind = { protocol: "icmp", port: 0 };

/** `refused` and `silent` are faults. */
type Answer = { readonly type: "answered" | "refused" | "silent"; readonly words: string };

/**
 * Sends a probe from this host to the address, and returns whether it is answered: only that proves that packets get
 * there and back.
 *
 * @param peer the host that the address belongs to; its path MTU is measured as well. @default none
 */
export async function answerStep(
  host: HostFacts,
  address: IPv4,
  kind: ProbeKind = ECHO,
  peer?: PeerLease,
): Promise<Step> {
  const object = "answer";
  const { protocol, port } = kind;
  const what = `${formatIPv4(address)}, ` +
    (protocol === "icmp" ? "ICMP echo" : `${protocol.toUpperCase()} port ${port}`);
  try {
    const { type, words } = await ask(host, address, kind);
    if (type === "refused") return { object, text: `to ${what}: refused`, wrong: words };
    if (type === "answered" && peer === undefined) return { object, text: `to ${what}: ${words}` };
    const { wrong, fix } = peer === undefined
      ? { wrong: words, fix: [] }
      : type === "answered"
      ? await narrowPath(host, address)
      : await silentPeer(host, address, peer);
    const text = `to ${what}: ${type === "answered" ? words : "none"}`;
    return wrong === undefined
      ? { object, text }
      : { object, text, wrong, ...(fix.length === 0 ? {} : { fix }) };
  } catch (error) {
    host.signal.throwIfAborted();
    return { object, text: `not checked: ${reasonNotChecked(error)}` };
  }
}

async function ask(host: HostFacts, address: IPv4, { protocol, port }: ProbeKind): Promise<Answer> {
  if (protocol === "tcp") return await connect(host, address, port);
  if (protocol === "udp") {
    const { signal } = host;
    const [outcome] = await probeUdpPort([address], port, { timeout: TIMEOUT / 2, signal });
    if (outcome?.type === "closed" || outcome?.type === "rejected") {
      const words = outcome.type === "closed" ? "no process listens on the port" : outcome.words;
      return { type: "refused", words: `refused: ${words}` };
    }
  }
  const prober = await host.prober();
  const outcomes = await prober.echo(new Array<IPv4>(COPIES).fill(address), {
    ...{ timeout: TIMEOUT, signal: host.signal },
  });
  for (const outcome of outcomes) {
    if (outcome.type !== "reply") continue;
    const time = `${outcome.rtt.toFixed(2)} ms`;
    return protocol === "icmp"
      ? { type: "answered", words: time }
      : { type: "answered", words: `not refused; an ICMP echo takes ${time}` };
  }
  const [failure] = outcomes;
  const cause = failure?.type === "unreachable"
    ? `: ${failure.words}`
    : failure?.type === "not-sent"
    ? `: ${failure.error.message}`
    : ` within ${TIMEOUT / 1000} s`;
  return { type: "silent", words: `no answer${cause}` };
}

async function connect({ signal }: HostFacts, address: IPv4, port: number): Promise<Answer> {
  const started = performance.now();
  const connecting = Deno.connect({ hostname: formatIPv4(address), port });
  const close = () => connecting.then((connection) => connection.close(), () => {});
  try {
    const isLate = sleep(TIMEOUT, signal).then(() => undefined);
    const connection = await abortable(Promise.race([connecting, isLate]), signal);
    if (connection !== undefined) {
      return { type: "answered", words: `${(performance.now() - started).toFixed(2)} ms` };
    }
    return { type: "silent", words: `no answer within ${TIMEOUT / 1000} s` };
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof Deno.errors.ConnectionRefused) {
      const words = "refused: no process listens on the port, or a firewall rejects it";
      return { type: "refused", words };
    }
    return { type: "silent", words: `no answer: ${(error as Error).message}` };
  } finally {
    close();
  }
}

interface Fault {
  readonly wrong?: string;
  readonly fix: readonly string[];
}

/** Checks that a full packet gets to the address, which answers small ones. */
async function narrowPath(host: HostFacts, address: IPv4): Promise<Fault> {
  const { mtu: limit } = await host.tunnel();
  const path = await measurePathMtu(await host.prober(), address, { limit, signal: host.signal });
  // A host that answers no echo request answers no size of it.
  if (path === undefined || path.mtu >= limit) return { fix: [] };
  return {
    wrong: `no answer to packets of more than ${path.mtu} bytes; the network's MTU is ${limit}`,
    fix: ["flanneld doctor   # check path-mtu"],
  };
}

/** Locates the fault on the way to an address that does not answer. */
async function silentPeer(host: HostFacts, address: IPv4, peer: PeerLease): Promise<Fault> {
  const [found] = await reach(host, [peer]);
  const tunnel = await host.tunnel();
  const { publicIP } = peer.lease.attributes;
  const there = formatIPv4(publicIP);
  // Without a tunnel and a bridge only the host's own address can answer.
  if (found!.overlay !== undefined || (tunnel.protocol === undefined && found!.isUp)) {
    return {
      wrong: `no answer, but its host ${hostNameOf(peer)} answers: no such ` +
        "container, net.ipv4.ip_forward=0, or a firewall rule there",
      fix: [`flanneld explain ${formatIPv4(address)}   # on ${there}`],
    };
  }
  if (found!.isUp) {
    return {
      wrong: `no answer: ${whatIsWrong(found!, carrierOf(tunnel))}`,
      fix: [`flanneld doctor   # here and on ${there}`],
    };
  }
  return {
    wrong: `no answer, and none from its host at ${there} either: it is down, or cut off`,
    fix: [`ping -I ${host.external().name} ${there}`],
  };
}
