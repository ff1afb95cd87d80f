import { readSysctl } from "../../host/mod.ts";
import { type HostTool, hostToolOf, type Opening } from "../../firewall/inspect/host_tool.ts";
import { formatIPv4 } from "../../ip/mod.ts";
import { inNetworkNamespace, type Netlink } from "../../sys/mod.ts";
import type { Fate, RulePlace } from "./fate.ts";
import type { Flow } from "./flows.ts";
import type { KernelDrop } from "./injector.ts";
import { type FlowWords, leastChange } from "./least_change.ts";
import { describeRule, type NamedRule, type RuleNames } from "./rule_names.ts";
import type { TraceResult } from "./tracer.ts";
import { IFF_LOOPBACK } from "../../sys/linux_constants.ts";
import { routeTo } from "../../../backends/steps.ts";

/** The rule or kernel check that drops a flow's packets. */
export interface Stop {
  /** Sentence with the rule, chain and table, or the kernel's reason. */
  readonly text: string;
  /** The rule; absent where none decided. */
  readonly rule?: NamedRule;
  /** Name of the kernel's drop reason. */
  readonly reason?: string;
  /** Commands that let the packets through and nothing else, in order. */
  readonly fix: readonly string[];
  /** True when it was concluded from parameters and routes, because the kernel reported no reason. */
  readonly isDeduced?: boolean;
}

/** Outcome of a flow's probe. */
export interface Verdict {
  readonly flow: Flow;
  readonly result: TraceResult;
  /** Absent when it arrived. */
  readonly stop?: Stop;
  /** Worth knowing, one line each: a rewritten source, a closed port. */
  readonly notes: readonly string[];
}

/** The host's interfaces that {@linkcode judge} uses. */
export interface JudgeHost {
  readonly netlink: Netlink;
  readonly names: RuleNames;
  /**
   * Returns the commands of a firewall program that let the network's packets through.
   *
   * @default none: a rule before the one that drops
   */
  readonly toolCommands?: ((tool: HostTool, hook: Opening["hook"]) => string[]) | undefined;
  /** Path of a network namespace; `undefined` is the thread's own. */
  readonly netns?: string | undefined;
}

/** Drop reasons of packets that arrived but that no socket accepts. */
const AT_SOCKET = /^(NO_SOCKET|SOCKET_|TCP_|UDP_|PROTO_MEM|ICMP_)|^IP_NOPROTO$/;

/** Drop reasons of outgoing packets: of neighbours, queues and devices. */
const AT_DEVICE =
  /^(NEIGH_|QDISC_|TC_EGRESS|DEV_|FQ_|CAKE_|TUNNEL_|NO_TX_TARGET|IP_OUTNOROUTES|SKB_|NOMEM|FULL_RING)/;

/** Finds the rule or check that stopped a flow's probe, its reply, or the datagram that carried it. */
export async function judge(flow: Flow, result: TraceResult, host: JudgeHost): Promise<Verdict> {
  const notes: string[] = [...result.blind.map((text) => `not checked: ${text}`)];
  const stop = await stopOf(flow, result, host, notes);
  return { flow, result, notes, ...(stop === undefined ? {} : { stop }) };
}

async function stopOf(
  flow: Flow,
  { fate, reply, carrier, packet }: TraceResult,
  host: JudgeHost,
  notes: string[],
): Promise<Stop | undefined> {
  if (fate?.type === "passed") {
    const { source, destination, rewrittenBy, lost } = fate;
    const by = await byRule(rewrittenBy, host);
    if (source !== packet.source) notes.push(`its source becomes ${formatIPv4(source)}${by}`);
    if (destination !== packet.destination) {
      notes.push(`its destination becomes ${formatIPv4(destination)}${by}`);
    }
    if (lost?.reason !== undefined && flow.name === "in" && AT_SOCKET.test(lost.reason)) {
      notes.push(`it arrives, but no socket takes it (${lost.reason})`);
    }
  }
  const { tunnel, reply: replyWords } = wordsOf(flow);
  if (carrier !== undefined && fate?.type === "passed") {
    // The datagram is the encapsulated packet: a drop of the one is a drop of the other.
    const found = await stopOfPacket(carrier, tunnel, host);
    if (found !== undefined) {
      return { ...found, text: `the tunnel's datagram with it: ${found.text}` };
    }
  }
  const stop = await stopOfPacket(fate, flow.words, host, flow);
  if (flow.isAnybody && stop?.reason?.startsWith("NEIGH_")) notes.push(stop.text);
  else if (stop !== undefined) return stop;
  // The reply to the first packet of a connection, which other rules may match.
  if (reply !== undefined && flow.name === "in") {
    const found = await stopOfPacket(reply, replyWords, host);
    if (found !== undefined) return { ...found, text: `the answer to it: ${found.text}` };
  }
  return undefined;
}

function wordsOf({ words, exit, request }: Flow): { tunnel: FlowWords; reply: FlowWords } {
  return {
    tunnel: request.carrier === undefined ? {} : { udpPort: request.carrier.port },
    reply: {
      ...(exit === undefined ? {} : { device: exit }),
      ...(words.destination === undefined ? {} : { source: words.destination }),
      ...(words.source === undefined ? {} : { destination: words.source }),
    },
  };
}

async function byRule(place: RulePlace | undefined, { names }: JudgeHost): Promise<string> {
  return place === undefined ? "" : ` by ${describeRule(await names.name(place))}`;
}

/** @param flow of the probe itself; absent for other packets, of which less is known */
async function stopOfPacket(
  fate: Fate | undefined,
  words: FlowWords,
  host: JudgeHost,
  flow?: Flow,
): Promise<Stop | undefined> {
  if (fate === undefined) {
    return {
      text: "the trace is empty: it reached no hook of netfilter",
      fix: [
        "tc filter show dev DEVICE ingress; ip link show dev DEVICE   # a program, or a device that is down?"
          .replaceAll("DEVICE", words.device ?? "lo"),
      ],
    };
  }
  if (fate.type === "passed") return passedStop(fate, host, flow);
  if (fate.type === "lost") {
    return fate.at === "routing" || fate.at === "entry"
      ? routingStop(fate.drop, fate.at, words, host, flow)
      : {
        text: `it was lost at hook ${fate.at}, and no rule dropped it${reasonText(fate.drop)}`,
        ...reasonOf(fate.drop),
        fix: [],
      };
  }
  const rule = await host.names.name(fate.by);
  const verb = fate.type === "dropped"
    ? "drops it"
    : "hands it to a program, which does not return it";
  const { family, table, chain: name } = rule.place;
  const tool = hostToolOf({ family, table, name }, rule.beside);
  const owner = tool === undefined ? "" : `, which ${tool} manages,`;
  const hook = hookOf(words, flow);
  const commands = tool && hook && host.toolCommands?.(tool, hook);
  const fix = commands?.length ? commands : leastChange(rule, words);
  return { text: `${describeRule(rule)}${owner} ${verb}`, rule, fix };
}

/** Hook that accepts the flow; `undefined` for packets of this host itself. */
function hookOf(words: FlowWords, flow: Flow | undefined): Opening["hook"] | undefined {
  if (flow?.exit !== undefined) return "forward";
  return flow?.name === "tunnel" && words.device !== undefined ? "input" : undefined;
}

/** Checks a packet that passed all rules: did it take the right interface, and did it arrive? */
function passedStop(
  { to, oif, destination, lost }: Extract<Fate, { type: "passed" }>,
  { netlink }: JudgeHost,
  flow: Flow | undefined,
): Stop | undefined {
  if (flow === undefined || flow.name === "tunnel" || to === "input" || oif === undefined) {
    return undefined;
  }
  const address = formatIPv4(destination);
  const name = nameOf(netlink, oif);
  if (flow.exit !== undefined && name !== flow.exit) {
    return {
      text: `the route to ${address} leads to ${name}, and not to ${flow.exit}`,
      ...reasonOf(lost),
      fix: [
        `ip route get ${address}   # which route is it? flanneld doctor: checks kernel, docker-address`,
      ],
    };
  }
  // Other reasons come from the receiver, where that is a namespace of this machine.
  const reason = lost?.reason ?? "";
  if (AT_DEVICE.test(reason) || (reason === "NETFILTER_DROP" && flow.name === "in")) {
    const by = reason === "NETFILTER_DROP" ? ": by ebtables, or by rules within the container" : "";
    return {
      text: `it was lost after ${name}${reasonText(lost)}${by}`,
      ...reasonOf(lost),
      fix: [],
    };
  }
  const gateway = nextHop(netlink, destination);
  const isKnown = gateway === undefined ||
    netlink.neighbours({ index: oif }).some(({ address }) => address === gateway);
  if (isKnown || !hasNeighbours(netlink, oif)) return undefined;
  return {
    text: `nobody on ${name} answers for ${formatIPv4(gateway)} (no neighbour)`,
    reason: "NEIGH_FAILED",
    fix: [`ip neighbour show dev ${name}   # is there such a host or container, and is it up?`],
  };
}

/** Explains a packet that routing dropped, between prerouting and the next hook. */
function routingStop(
  drop: KernelDrop | undefined,
  at: "routing" | "entry",
  { device }: FlowWords,
  host: JudgeHost,
  flow: Flow | undefined,
): Stop {
  const name = device ?? "";
  const reason = drop?.reason;
  const said = reasonOf(drop);
  const { source = 0, destination = 0 } = flow?.request.packet ?? {};
  const from = formatIPv4(source);
  const to = formatIPv4(destination);
  const rpFilter = () => ({
    text:
      `the reverse path filter of ${name} drops it: the route back to ${from} uses another interface`,
    fix: ["all", name].filter((one) => sysctl(host, `net/ipv4/conf/${one}/rp_filter`) === "1")
      .map((one) => `sysctl -w net/ipv4/conf/${one}/rp_filter=2`),
  });
  const forwarding = () => {
    const off = ["net/ipv4/ip_forward", `net/ipv4/conf/${name}/forwarding`]
      .filter((one) => sysctl(host, one) === "0");
    return off.length === 0 ? undefined : {
      text: `this host does not forward: ${off[0]} is 0`,
      fix: [`sysctl -w ${off[0]}=1`],
    };
  };
  const martian = () => ({
    text: `it is a martian on ${name}: ${from} or ${to} cannot be there`,
    fix: [`ip route get ${to} from ${from} iif ${name}   # is one of them this host's own?`],
  });
  switch (reason) {
    case "IP_RPFILTER":
      return { ...rpFilter(), ...said };
    case "IP_LOCAL_SOURCE":
    case "IP_INVALID_SOURCE":
    case "IP_LOCALNET":
    case "IP_INVALID_DEST":
      return { ...martian(), ...said };
    case "IP_INNOROUTES":
    case "IP_INADDRERRORS":
    case undefined: {
      const off = forwarding();
      if (off !== undefined) return { ...off, ...said, isDeduced: reason === undefined };
      if (reason === undefined && at === "routing") {
        if (host.netlink.addresses().some(({ address }) => address === source)) {
          return { ...martian(), isDeduced: true };
        }
        const back = routeTo(host.netlink, source);
        const mode = Math.max(
          ...["all", name].map((one) =>
            Number(sysctl(host, `net/ipv4/conf/${one}/rp_filter`) ?? 0)
          ),
        );
        const elsewhere = back === undefined || nameOf(host.netlink, back.oif) !== name;
        if (mode === 1 ? elsewhere : mode === 2 && back === undefined) {
          return { ...rpFilter(), isDeduced: true };
        }
      }
      if (routeTo(host.netlink, destination) === undefined || reason !== undefined) {
        return {
          text: `no route leads to ${to}`,
          ...said,
          fix: [`ip route get ${to}   # flanneld doctor: checks kernel, docker-address`],
          isDeduced: reason === undefined,
        };
      }
    }
  }
  return { text: `it was lost before the first rule${reasonText(drop)}`, ...said, fix: [] };
}

function reasonOf(drop: KernelDrop | undefined): { reason?: string } {
  const reason = drop?.reason ?? drop?.function;
  return reason === undefined ? {} : { reason };
}

function reasonText(drop: KernelDrop | undefined): string {
  if (drop?.reason !== undefined) return ` (drop reason ${drop.reason})`;
  return drop?.function === undefined ? "" : ` (in the kernel's ${drop.function})`;
}

function nameOf(netlink: Netlink, index: number): string {
  return netlink.linkByIndex(index)?.name ?? `interface ${index}`;
}

function nextHop(netlink: Netlink, address: number): number | undefined {
  const found = routeTo(netlink, address);
  return found === undefined ? undefined : found.gateway ?? address;
}

/** linux/if.h: interfaces that resolve no addresses. */
const IFF_NOARP = 0x80;

/** A vxlan device resolves none either, and yet needs its neighbours. */
function hasNeighbours(netlink: Netlink, index: number): boolean {
  const link = netlink.linkByIndex(index);
  return link?.mac !== undefined && (link.flags & (IFF_NOARP | IFF_LOOPBACK)) === 0;
}

function sysctl({ netns }: JudgeHost, parameter: string): string | undefined {
  return inNetworkNamespace(netns, () => readSysctl(parameter));
}
