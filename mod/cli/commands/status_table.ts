/**
 * The agent's status as text for a terminal: 80 columns, nothing that needs more than ASCII.
 *
 * @module
 */
import type {
  AgentStatus,
  NetworkReport,
  PeerReport,
  TrafficCounts,
  WaitingReport,
} from "../../agent/status/status.ts";
import type { Paint } from "../output.ts";
import { counted, duration } from "../../text/mod.ts";

/** Options of {@linkcode statusTable}. */
export interface TableOptions {
  /** An earlier status, for rates. */
  readonly before?: AgentStatus | undefined;
  /** Columns of the terminal. @default 80 */
  readonly columns?: number;
  /** Lines that the table may take; peers that do not fit are counted. @default unlimited */
  readonly lines?: number;
}

/** Width of the names on the left. */
const LABEL = 10;

/** Reasons of dropped packets in words; docs/operate/monitoring.md has the same list. */
const DROPS: Readonly<Record<string, string>> = {
  sendDevice: "by the device on sending",
  sendDeviceError: "device errors on sending",
  receiveDevice: "by the device on receiving",
  receiveDeviceError: "device errors on receiving",
  sendNotIPv4: "not IPv4",
  sendNoRoute: "no host has the address",
  sendTtl: "TTL used up on sending",
  sendTooBig: "too big for the path",
  sendBuffer: "socket buffer full",
  sendRefused: "refused by this host's kernel",
  receiveUnknownSender: "from a host without a lease",
  receiveSpoofed: "source not the sender's",
  receiveForeign: "not for this host",
  receiveMalformed: "malformed",
  receiveTruncated: "larger than the buffer",
  receiveTtl: "TTL used up on receiving",
  receiveRefused: "refused by the device",
};

/** Least number of peers to show, also on a terminal with few lines. */
const FEWEST = 3;

/** The lines of the table. */
export function statusTable(status: AgentStatus, options: TableOptions = {}): string[] {
  const { columns = 80, lines = Infinity } = options;
  const blocks = [
    agentLines(status),
    ...status.networks.map((network) => networkLines(network, status, options.before)),
    ...status.waiting.map((network) => waitingLines(network, status)),
  ];
  const heads = blocks.map((block) => block.flatMap((line) => wrap(line, columns)));
  const taken = heads.reduce((sum, head) => sum + head.length + 1, 0);
  const room = Math.max(
    FEWEST,
    Math.floor((lines - taken) / Math.max(1, status.networks.length)) - 2,
  );
  const text = heads.map((head, i) => {
    const network = status.networks[i - 1];
    if (network === undefined) return head;
    const earlier = options.before?.networks.find(({ name }) => name === network.name);
    return [
      ...head,
      ...peerLines(network, earlier, secondsBetween(options.before, status), room)
        .map((line) => line.slice(0, columns)),
    ];
  });
  return text.flatMap((
    block,
    i,
  ) => [...i === 0 ? [] : [""], ...block.map((line) => line.trimEnd())]);
}

/** A label and its text. */
type Line = readonly [label: string, text: string];

function agentLines(status: AgentStatus): Line[] {
  const { agent, unhealthy } = status;
  const { version, pid, hostname, uptimeSeconds, residentBytes } = agent;
  return [
    [
      "flanneld",
      `${version} on ${hostname}, pid ${pid}, up ${duration(uptimeSeconds)}, ` +
      `${(residentBytes / 2 ** 20).toFixed(0)} MiB`,
    ],
    ["health", health(status)],
    ...unhealthy.map((reason): Line => ["", `! ${reason}`]),
  ];
}

/** The status in a word or two. */
function health(status: AgentStatus): string {
  if (status.unhealthy.length > 0) return "NOT WELL";
  if (!status.ready) return "ok, not ready yet";
  return hasWarnings(status) ? "ready, with warnings" : "ok, ready";
}

/** True when the agent is healthy and ready, and no network has a warning. */
export function isWell(status: AgentStatus): boolean {
  return status.unhealthy.length === 0 && status.ready && !hasWarnings(status);
}

/** Colors the health, and lines that report a problem. */
export const paintStatus: Paint = (line) => {
  if (line.startsWith("health")) {
    return { color: /NOT WELL$/.test(line) ? "red" : /ok, ready$/.test(line) ? "green" : "yellow" };
  }
  if (/^ +! /.test(line)) return { color: "yellow" };
  return / REFUSED$/.test(line) ? { color: "red" } : undefined;
};

function hasWarnings({ networks, waiting }: AgentStatus): boolean {
  return networks.some(({ warnings }) => warnings.length > 0) ||
    waiting.some(({ warning }) => warning !== null);
}

function networkLines(
  network: NetworkReport,
  { time }: AgentStatus,
  before: AgentStatus | undefined,
): Line[] {
  const { name, range, host, backend, lease, store, peers, warnings, repairs, traffic } = {
    ...network,
    range: network.network,
  };
  const lines: Line[] = [
    ["network", `${name === "" ? "" : `${name}, `}${range ?? "not known yet"}, ${network.state}`],
  ];
  for (const warning of warnings) {
    lines.push(["", `! ${warning.message} (for ${since(warning.since, time)})`]);
  }
  lines.push([
    "host",
    `${host.publicIP} on ${host.interface}` +
    `${host.address === host.publicIP ? "" : ` (${host.address})`}, MTU ${host.mtu}`,
  ]);
  if (backend !== null) {
    const { type, device, mtu, features, outsideSources, routeTables = {} } = backend;
    lines.push([
      "backend",
      `${type}${device === null ? "" : ` on ${device}`}, MTU ${mtu}` +
      `${features === null ? "" : `, ${features}`}`,
    ]);
    // Absent in the answer of an older agent.
    if (outsideSources) {
      const { refused, reason } = outsideSources;
      lines.push(["", `outside sources ${refused ? "refused" : "accepted"}: ${reason}`]);
    }
    for (const [table, state] of Object.entries(routeTables)) {
      lines.push(["", `route in ${table}: ${state}`]);
    }
  }
  lines.push(["lease", lease === null ? "none" : lease.subnet + terms(lease, time)]);
  const { watching, calls, errors } = store;
  lines.push([
    "store",
    `${store.name}, ${watching ? "followed" : "NOT followed"} for ${since(store.since, time)}, ` +
    `${counted(calls, "call")}, ${errors} failed`,
  ]);
  if (traffic !== null) {
    const earlier = before?.networks.find((other) => other.name === name)?.traffic ?? undefined;
    const seconds = secondsBetween(before, { time });
    lines.push(["traffic", flow(traffic, earlier, seconds)]);
    const drops = Object.entries(traffic.drops).map(([reason, n]) =>
      `${DROPS[reason] ?? reason} ${count(n)}`
    );
    if (drops.length > 0) lines.push(["dropped", drops.join(", ")]);
  }
  if (repairs.total > 0) {
    const kinds = Object.entries(repairs.byKind).map(([kind, n]) => `${kind} ${n}`).join(", ");
    const [last] = repairs.recent;
    lines.push([
      "repairs",
      `${kinds}${last === undefined ? "" : `; last ${since(last.time, time)} ago: ${last.what}`}`,
    ]);
  }
  lines.push([
    "peers",
    `${peers.count}${peers.refused === 0 ? "" : `, ${peers.refused} refused`}`,
  ]);
  for (
    const { subnet, refused } of peers.list.filter(({ refused }) => refused !== null).slice(0, 3)
  ) {
    lines.push(["", `! ${subnet} is refused: it ${refused}`]);
  }
  return lines;
}

function waitingLines({ name, warning }: WaitingReport, { time }: AgentStatus): Line[] {
  return [
    ["network", `${name === "" ? "" : `${name}, `}not known yet, waiting`],
    warning === null
      ? ["", "it has just begun"]
      : ["", `! ${warning.message} (for ${since(warning.since, time)})`],
  ];
}

function terms(
  { expires, renewal }: { readonly expires: string | null; readonly renewal: string | null },
  time: string,
): string {
  if (expires === null) return ", permanent";
  const left = (Date.parse(expires) - Date.parse(time)) / 1000;
  const renews = renewal === null ? undefined : (Date.parse(renewal) - Date.parse(time)) / 1000;
  return `, ${left < 0 ? `RAN OUT ${duration(-left)} ago` : `expires in ${duration(left)}`}` +
    (renews === undefined
      ? ""
      : renews < 0
      ? `, renewal OVERDUE for ${duration(-renews)}`
      : `, renewed in ${duration(renews)}`);
}

function peerLines(
  { peers }: NetworkReport,
  before: NetworkReport | undefined,
  seconds: number | undefined,
  room: number,
): string[] {
  if (peers.list.length === 0) return [];
  const earlier = new Map(before?.peers.list.map((peer) => [peer.subnet, peer]));
  const shown = peers.list.slice(0, peers.list.length > room ? room - 1 : room);
  const hasTraffic = shown.some(({ traffic }) => traffic !== null);
  const rows = [
    ["SUBNET", "HOST", "RTT ms", "LOST", ...(hasTraffic ? ["SENT", "RECEIVED"] : []), "NOTE"],
    ...shown.map((peer) => peerRow(peer, earlier.get(peer.subnet), seconds, hasTraffic)),
  ];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.map((row) =>
    // Texts to the left, numbers to the right.
    "  " + row.map((cell, column) =>
      column < 2 || column === row.length - 1
        ? cell.padEnd(widths[column]!)
        : cell.padStart(widths[column]!)
    ).join("  ")
  );
  const more = peers.list.length - shown.length + peers.omitted;
  return more === 0 ? lines : [...lines, `  and ${more} more (flanneld status -json -peers=all)`];
}

function peerRow(
  peer: PeerReport,
  before: PeerReport | undefined,
  seconds: number | undefined,
  hasTraffic: boolean,
): string[] {
  const { subnet, publicIP, roundTrip, traffic, refused, path, hostname, version } = peer;
  const note = refused !== null ? "REFUSED" : [hostname, version, path]
    .filter((text) => text !== null).join(", ");
  const volume = (key: "sentBytes" | "receivedBytes") =>
    traffic === null ? "-" : amount(traffic[key], before?.traffic?.[key], seconds);
  return [
    subnet,
    publicIP,
    roundTrip === null ? "-" : roundTrip.lastMs === null ? "none" : roundTrip.lastMs.toFixed(2),
    roundTrip === null ? "-" : `${(100 * roundTrip.lost / roundTrip.sent).toFixed(0)}%`,
    ...(hasTraffic ? [volume("sentBytes"), volume("receivedBytes")] : []),
    note,
  ];
}

/** `12.0 kB (15 packets) sent, ...`, or rates where there is something to compare with. */
function flow(
  now: TrafficCounts,
  before: TrafficCounts | undefined,
  seconds: number | undefined,
): string {
  const one = (packets: "sentPackets" | "receivedPackets", bytes: "sentBytes" | "receivedBytes") =>
    seconds === undefined || before === undefined
      ? `${volumeOf(now[bytes])} in ${count(now[packets])} ${
        now[packets] === 1 ? "packet" : "packets"
      }`
      : `${amount(now[bytes], before[bytes], seconds)}, ` +
        `${count(Math.max(0, now[packets] - before[packets]) / seconds)} packets/s`;
  return `sent ${one("sentPackets", "sentBytes")}; received ` +
    one("receivedPackets", "receivedBytes");
}

function amount(now: number, before: number | undefined, seconds: number | undefined): string {
  if (before === undefined || seconds === undefined) return volumeOf(now);
  // Counters start again at 0 with the data path.
  return `${volumeOf(Math.max(0, now - before) * 8 / seconds, "bit")}/s`;
}

function volumeOf(value: number, unit = "B"): string {
  return `${scaled(value)}${unit}`;
}

/** `1.2 M`: three digits and a decimal prefix. */
function scaled(value: number): string {
  const prefixes = ["", "k", "M", "G", "T", "P"];
  let at = 0;
  while (value >= 999.5 && at < prefixes.length - 1) {
    value /= 1000;
    at++;
  }
  const digits = at === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${prefixes[at]}`;
}

function count(value: number): string {
  return scaled(value).trim().replace(" ", "");
}

function since(time: string, now: string): string {
  return duration(Math.max(0, (Date.parse(now) - Date.parse(time)) / 1000));
}

function secondsBetween(
  before: { readonly time: string } | undefined,
  now: { readonly time: string },
): number | undefined {
  if (before === undefined) return undefined;
  const seconds = (Date.parse(now.time) - Date.parse(before.time)) / 1000;
  return seconds > 0 ? seconds : undefined;
}

/** Breaks a line at its spaces, below its text. */
function wrap([label, text]: Line, columns: number): string[] {
  const width = Math.max(20, columns - LABEL);
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = "";
    }
    line += (line === "" ? "" : " ") + word;
  }
  lines.push(line);
  return lines.map((line, i) => (i === 0 ? label : "").padEnd(LABEL) + line);
}
