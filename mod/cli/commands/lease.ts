/**
 * `flanneld lease list|reserve|unreserve|release|evict`: the leases of the network, and reservations.
 *
 * @module
 */

import { KERNEL_FEATURE } from "../../../backends/udp/kernel/udp_kernel.ts";
import { openPresent } from "../../agent/commands/open_present.ts";
import { ConfigError, decodeNetworkConfig } from "../../config/mod.ts";
import { formatIPv4, type IPv4, parseIPv4, Prefix } from "../../ip/mod.ts";
import { type Lease, type NodeRecord, PERMANENT, type StoredNodeRecord } from "../../lease/mod.ts";
import { type ConfigText, type NetworkStore, StoreError } from "../../store/mod.ts";
import { openStore } from "../../store/open.ts";
import type { StoreOptions } from "../../store/options.ts";
import {
  evictHost,
  findHostEntries,
  releaseLease,
  releaseReservation,
  reserveSubnet,
} from "../../subnet/reserve.ts";
import type { AgentLine } from "../flags/agent_line.ts";
import type { AgentSubcommand, OwnFlag } from "./agent_subcommand.ts";
import { requireYes, YES } from "./config/confirm.ts";
import { inTime } from "./config/store.ts";
import { UsageError } from "../errors.ts";
import { EXIT_OK, type ExitCodes } from "../exit_codes.ts";
import { quote } from "../flags/flag_syntax.ts";
import { oneNetwork } from "./one_network.ts";
import { JSON_HELP, print, printReport, type Say, sayer } from "../output.ts";
import type { RunSubcommand } from "./subcommand.ts";
import { runVerb, type Verb } from "./verbs.ts";
import { duration } from "../../text/mod.ts";

/** Calls for lifetimes at once: etcd v3 takes one call for each lease. */
const AT_ONCE = 16;

const EXIT_CODES: ExitCodes = { 0: "done", 1: "it failed, or the rules forbid it" };

const BESIDE = "Agents may be running: they follow at once, an agent with -store embedded on the " +
  "same host within a second.";

const JSON_FLAG: OwnFlag = { name: "json", kind: "bool", help: JSON_HELP };

const VERBS: readonly Verb[] = [
  {
    spec: {
      name: "lease list",
      summary: "List the leases of the network: public IP, backend, time left, hostname.",
      flags: [JSON_FLAG],
      exitCodes: { 0: "listed", 1: "the store cannot be read" },
    },
    run: list,
  },
  {
    spec: {
      name: "lease reserve",
      summary: `Reserve a subnet for the host with a public IP, without an expiry. ${BESIDE}`,
      flags: [JSON_FLAG],
      operands: {
        usage: "SUBNET PUBLIC-IP",
        help: "The subnet has the length that the network's config asks for and lies in its " +
          "network; no other host has it.",
        count: [2, 2],
        choices: [],
      },
      exitCodes: EXIT_CODES,
    },
    run: reserve,
  },
  {
    spec: {
      name: "lease unreserve",
      summary: "End a reservation: the subnet is free in 24 hours, unless its host runs and " +
        `renews it. ${BESIDE}`,
      flags: [JSON_FLAG],
      operands: { usage: "SUBNET", help: "A subnet that is reserved.", count: [1, 1], choices: [] },
      exitCodes: EXIT_CODES,
    },
    run: unreserve,
  },
  {
    spec: {
      name: "lease release",
      summary: "Remove a lease, reserved or not: the subnet is free at once. An agent that holds " +
        `it leases a subnet again. ${BESIDE}`,
      flags: [JSON_FLAG],
      operands: { usage: "SUBNET", help: "A subnet that is leased.", count: [1, 1], choices: [] },
      exitCodes: EXIT_CODES,
    },
    run: release,
  },
  {
    spec: {
      name: "lease evict",
      summary:
        "Remove the leases and the node record of a dead host: the other hosts drop its routes at " +
        "once. evict shows them and asks first, and keeps reservations. An agent that runs " +
        "leases a subnet again.",
      flags: [YES, JSON_FLAG],
      operands: {
        usage: "PUBLIC-IP",
        help: "The public IP of the host that is gone.",
        count: [1, 1],
        choices: [],
      },
      exitCodes: {
        0: "done",
        1: "it failed, or the host has nothing in the store",
        3: "not confirmed",
      },
    },
    run: evict,
  },
];

/** Command line of the subcommand. */
export const spec: AgentSubcommand = {
  name: "lease",
  summary: "List, reserve and end the leases of the network.",
  flags: [],
  exitCodes: {},
  verbs: VERBS.map(({ spec }) => spec),
};

/**
 * Runs the subcommand with the environment of the process.
 *
 * @throws {UsageError} for a command line that cannot be used
 * @throws {ReservationError} for a reservation that the rules forbid
 * @throws {StoreError} when the store fails
 */
export const run: RunSubcommand = (args, signal) => runVerb("lease", VERBS, args, signal);

async function reserve({ agent, own, operands }: AgentLine, signal: AbortSignal): Promise<number> {
  const subnet = subnetOf(operands[0]!);
  const publicIP = addressOf(operands[1]!);
  await using store = await open(oneNetwork(agent.options).store, signal);
  await inTime(signal, (call) => reserveSubnet(store, subnet, publicIP, call));
  const host = formatIPv4(publicIP);
  const { say, report } = outputOf(own, store);
  say(`reserved ${subnet} for ${host} in ${store.name}`);
  const { leases } = await inTime(signal, (call) => store.snapshot(call));
  const others = leases.filter((lease) =>
    lease.attributes.publicIP === publicIP && !lease.subnet.equals(subnet)
  );
  for (const { subnet: other } of others) {
    say(
      `that host has ${other} too: an agent keeps the subnet that it has; 'flanneld cleanup ` +
        "-release' there gives it back",
    );
  }
  report({ subnet, publicIP: host, others: others.map((other) => other.subnet) });
  return EXIT_OK;
}

async function unreserve(
  { agent, own, operands }: AgentLine,
  signal: AbortSignal,
): Promise<number> {
  const subnet = subnetOf(operands[0]!);
  await using store = await open(oneNetwork(agent.options).store, signal);
  const { attributes } = await inTime(signal, (call) => releaseReservation(store, subnet, call));
  const host = formatIPv4(attributes.publicIP);
  const { say, report } = outputOf(own, store);
  say(`${subnet} is no longer reserved for ${host}; without it, it is free in 24 hours`);
  report({ subnet, publicIP: host });
  return EXIT_OK;
}

async function release({ agent, own, operands }: AgentLine, signal: AbortSignal): Promise<number> {
  const subnet = subnetOf(operands[0]!);
  await using store = await open(oneNetwork(agent.options).store, signal);
  const { attributes } = await inTime(signal, (call) => releaseLease(store, subnet, call));
  const host = formatIPv4(attributes.publicIP);
  const { say, report } = outputOf(own, store);
  say(`released ${subnet} of ${host} in ${store.name}`);
  report({ subnet, publicIP: host });
  return EXIT_OK;
}

async function evict({ agent, own, operands }: AgentLine, signal: AbortSignal): Promise<number> {
  const publicIP = addressOf(operands[0]!);
  const host = formatIPv4(publicIP);
  await using store = await open(oneNetwork(agent.options).store, signal);
  const entries = await inTime(signal, (call) => findHostEntries(store, publicIP, call));
  const { leases, reserved, record } = entries;
  const { say, report } = outputOf(own, store);
  for (const { subnet } of reserved) say(`kept ${subnet}, which is reserved for ${host}`);
  const objects = [
    ...leases.map(({ subnet }) => `lease ${subnet}`),
    ...record === undefined ? [] : [`node record of ${host}, host ${record.record.hostname}`],
  ];
  say(objects.map((object) => `- ${object}`));
  const code = await requireYes(own, `Remove them from ${store.name}?`, signal);
  if (code !== undefined) return code;
  await inTime(signal, (call) => evictHost(store, entries, call));
  say(`evicted ${host} from ${store.name}`);
  const subnets = (some: readonly Lease[]) => some.map(({ subnet }) => subnet);
  const removed = { leases: subnets(leases), record: record?.record.hostname ?? null };
  report({ publicIP: host, removed, kept: subnets(reserved) });
  return EXIT_OK;
}

async function list({ agent, own }: AgentLine, signal: AbortSignal): Promise<number> {
  await using store = await open(oneNetwork(agent.options).store, signal, true);
  const { leases, agents, config } = await inTime(signal, (call) => store.snapshot(call));
  const type = await configuredType(config);
  const sorted = leases.toSorted((a, b) => a.subnet.address - b.subnet.address);
  const rows = (await withLifetimes(store, sorted, signal)).map((lease) =>
    row(lease, agents, type)
  );
  if (own.get("json") === true) printReport({ leases: rows });
  else print(table(rows));
  return EXIT_OK;
}

/** How a verb that writes prints what a person reads, and what `-json` asks for. */
function outputOf(
  own: AgentLine["own"],
  { name }: NetworkStore,
): { say: Say; report: (members: Readonly<Record<string, unknown>>) => void } {
  const isJson = own.get("json") === true;
  return {
    say: sayer(isJson),
    report: (members) => {
      if (isJson) printReport({ store: name, ...members });
    },
  };
}

async function open(
  options: StoreOptions,
  signal: AbortSignal,
  readOnly = false,
): Promise<NetworkStore> {
  const opened = await inTime(
    signal,
    (call) => readOnly ? openStore(options, { ...call, readOnly }) : openPresent(options, call),
  );
  if ("store" in opened) return opened.store;
  throw new StoreError(`there is no network config: ${opened.waiting}`);
}

/** Adds the lifetimes, which listings of etcd v3 do not have. */
async function withLifetimes(
  store: NetworkStore,
  leases: readonly Lease[],
  signal: AbortSignal,
): Promise<Lease[]> {
  const complete: Lease[] = [];
  for (let i = 0; i < leases.length; i += AT_ONCE) {
    const some = leases.slice(i, i + AT_ONCE).map(async (lease) =>
      lease.ttl !== undefined
        ? lease
        : await inTime(signal, (call) => store.lease(lease.subnet, call)) ?? lease
    );
    complete.push(...await Promise.all(some));
  }
  return complete;
}

/** One lease, as `-json` prints it. */
interface Row {
  readonly subnet: string;
  readonly publicIP: string;
  readonly backend: string;
  /** Hostname of its agent's node record; absent without a record. */
  readonly host?: string;
  readonly reserved: boolean;
  /** Seconds left; absent for a reservation. */
  readonly ttl?: number;
}

function row(
  { subnet, attributes: { publicIP, backendType }, ttl }: Lease,
  agents: readonly StoredNodeRecord[],
  configured: string | undefined,
): Row {
  const record = agents.find((agent) => agent.publicIP === publicIP)?.record;
  return {
    subnet: subnet.toString(),
    publicIP: formatIPv4(publicIP),
    backend: backendType ?? unnamedBackend(record, configured),
    ...(record === undefined ? {} : { host: record.hostname }),
    reserved: ttl === PERMANENT,
    ...(ttl === undefined || ttl === PERMANENT ? {} : { ttl }),
  };
}

/** The backend of a lease that names none, as flannel's udp and alloc do. */
function unnamedBackend(record: NodeRecord | undefined, configured: string | undefined): string {
  if (record?.features?.includes(KERNEL_FEATURE) === true) return "udp";
  // An agent follows the config; upstream flannel keeps the backend that it was started with.
  if (record !== undefined && (configured === "udp" || configured === "alloc")) return configured;
  return "udp or alloc";
}

/** The backend of the network's config; `undefined` without a config that agents can use. */
async function configuredType(config: ConfigText): Promise<string | undefined> {
  if ("missing" in config) return undefined;
  try {
    return (await decodeNetworkConfig(config.text)).backend.type;
  } catch (error) {
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
}

function table(rows: readonly Row[]): string[] {
  const lines = [
    ["SUBNET", "PUBLIC IP", "BACKEND", "LEFT", "HOST"],
    ...rows.map(({ subnet, publicIP, backend, reserved, ttl, host }) => [
      ...[subnet, publicIP, reserved && backend.includes(" ") ? "-" : backend],
      ...[reserved ? "reserved" : ttl === undefined ? "-" : duration(ttl), host ?? "-"],
    ]),
  ];
  const widths = lines[0]!.map((_, i) => Math.max(...lines.map((line) => line[i]!.length)));
  return lines.map((line) => line.map((cell, i) => cell.padEnd(widths[i]!)).join("  ").trimEnd());
}

function subnetOf(word: string): Prefix {
  const subnet = Prefix.parse(word);
  if (subnet === undefined) {
    throw new UsageError(`${quote(word)} is not a subnet: expected one such as 10.20.93.0/24`);
  }
  if (subnet.toString() !== word) {
    throw new UsageError(`${quote(word)} has host bits: the subnet is ${subnet}`);
  }
  return subnet;
}

function addressOf(word: string): IPv4 {
  const address = parseIPv4(word);
  if (address !== undefined) return address;
  throw new UsageError(
    `${quote(word)} is not a public IP: expected an IPv4 address such as 172.28.128.101`,
  );
}
