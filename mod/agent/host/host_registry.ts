import { join } from "node:path/posix";
import { sleep } from "../../async/sleep.ts";
import { makeDirectory } from "../../export/atomic_file.ts";
import { ExportError, reasonOf } from "../../export/errors.ts";
import { chainTag } from "../../firewall/mod.ts";
import { Prefix } from "../../ip/mod.ts";
import { verbose } from "../../observe/mod.ts";
import { describeHolder, FileLock, findLockHolder } from "../../sys/mod.ts";
import type { AgentOptions } from "../core/options.ts";

/** Directory with one file per agent of this host. */
const DIRECTORY = "/run/flannel/agents";

/** Lock that an agent holds while it reads or changes the directory. */
const GUARD = ".lock";

/** Limit for another agent to release {@linkcode GUARD}, in milliseconds: it reads a few files. */
const GUARD_TIMEOUT_MS = 5_000;

/** A network and the kernel resources that no other agent of the host may use. */
export interface HostRegistration {
  readonly network: Prefix;
  /** Resources that exist once in the kernel: `VNI 1`, `UDP port 8285`. */
  readonly resources: readonly string[];
}

/** A network clashes with another network of this host. The message is one line and names both. */
export class ClashError extends Error {
  override readonly name = "ClashError";
}

/** Content of an agent's file, as JSON. */
interface Entry {
  /** Name of the agent in messages. */
  readonly holder: string;
  /** Link text of `/proc/self/ns/net`: networks of different namespaces cannot clash. */
  readonly namespace: string;
  readonly network: string;
  readonly resources: readonly string[];
}

/** Options of {@linkcode HostRegistry}. */
export interface HostRegistryOptions {
  /** Name of this agent in messages of other agents: `network "blue"`. */
  readonly holder: string;
  /** Path of the agent's subnet file; no other agent has the same. */
  readonly subnetFile: string;
  /** @default "/run/flannel/agents" */
  readonly directory?: string;
}

/**
 * Registry of the networks that the agents of one host serve, in one process or several. It prevents
 * clashes: two networks with one VNI would empty each other's device, and two with overlapping ranges
 * would replace each other's routes.
 *
 * Each agent writes its network to a file and holds a lock on the file; the kernel releases the lock
 * however the agent ends. An agent that cannot write to the directory runs unregistered.
 */
export class HostRegistry implements AsyncDisposable {
  readonly #holder: string;
  readonly #subnetFile: string;
  readonly #directory: string;
  readonly #path: string;
  #lock: FileLock | undefined;
  #others: readonly Prefix[] = [];

  constructor({ holder, subnetFile, directory = DIRECTORY }: HostRegistryOptions) {
    this.#holder = holder;
    this.#subnetFile = subnetFile;
    this.#directory = directory;
    this.#path = pathOf(directory, subnetFile);
  }

  /** Networks of other agents on this host, as of the last {@linkcode register} or {@linkcode refresh}. */
  get others(): readonly Prefix[] {
    return this.#others;
  }

  /** Reads the other agents' networks again. Keeps the last result when they cannot be read. */
  async refresh(signal: AbortSignal): Promise<void> {
    try {
      const others = await servedBeside(this.#subnetFile, signal, this.#directory);
      this.#others = others.map(({ network }) => network);
    } catch (error) {
      signal.throwIfAborted();
      verbose(1, `cannot read the other networks of this host: ${(error as Error).message}`);
    }
  }

  /**
   * Registers a network in place of the one that this agent registered before.
   *
   * @throws {ClashError} when another network of the host overlaps; the former registration stays
   */
  async register(registration: HostRegistration, signal: AbortSignal): Promise<void> {
    let guard: FileLock;
    try {
      await makeDirectory(this.#directory);
      guard = await takeGuard(this.#directory, signal);
    } catch (error) {
      signal.throwIfAborted();
      verbose(1, `cannot register this network on the host: ${(error as Error).message}`);
      return;
    }
    using _guard = guard;
    const others: Prefix[] = [];
    for (const other of await liveRegistrations(this.#directory, this.#path)) {
      refuseClash(this.#holder, registration, other);
      others.push(other.network);
    }
    this.#others = others;
    this.#lock ??= FileLock.tryAcquire(this.#path);
    const entry: Entry = {
      holder: this.#holder,
      namespace: await ownNamespace(),
      network: String(registration.network),
      resources: registration.resources,
    };
    try {
      await Deno.writeTextFile(this.#path, JSON.stringify(entry));
    } catch (error) {
      // A full disk must not stop the agent: it works unregistered.
      verbose(1, `cannot register this network on the host: ${reasonOf(error)}`);
    }
  }

  /** Removes the registration. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#lock === undefined) return;
    await Deno.remove(this.#path).catch(() => {});
    this.#lock[Symbol.dispose]();
    this.#lock = undefined;
  }
}

/** The registration of a running agent. */
export interface LiveRegistration extends HostRegistration {
  /** Name of the agent in messages: `network "blue" of flanneld 4711`. */
  readonly holder: string;
}

/**
 * Returns the registrations of the running agents in this network namespace.
 *
 * @param subnetFile subnet file of the agent to leave out
 * @throws {ExportError} when the directory cannot be read
 */
export async function servedBeside(
  subnetFile: string,
  signal: AbortSignal,
  directory = DIRECTORY,
): Promise<readonly LiveRegistration[]> {
  try {
    await Deno.lstat(directory);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
  try {
    using _guard = await takeGuard(directory, signal);
    return await liveRegistrations(directory, pathOf(directory, subnetFile));
  } catch (cause) {
    signal.throwIfAborted();
    throw ExportError.from("cannot read the other networks of this host", cause);
  }
}

/** Returns the networks of agents with other subnet files; none when the directory cannot be read. */
export async function readOthers(
  subnetFile: string,
  signal: AbortSignal,
): Promise<readonly Prefix[]> {
  await using registry = new HostRegistry({ holder: "a reader", subnetFile });
  await registry.refresh(signal);
  return registry.others;
}

/**
 * Returns whether the host has other networks, or may have some whose agents are stopped: this agent
 * serves a named network, or its subnet file is not the default.
 */
export function isBesideOthers(
  { networkName, subnetFile }: Pick<AgentOptions, "networkName" | "subnetFile">,
  others: readonly unknown[],
): boolean {
  return chainTag(networkName, subnetFile) !== undefined || others.length > 0;
}

function pathOf(directory: string, subnetFile: string): string {
  return join(directory, encodeURIComponent(subnetFile));
}

function ownNamespace(): Promise<string> {
  return Deno.readLink("/proc/self/ns/net");
}

/** Reads the registrations of running agents and removes files of ended ones. The caller holds the guard. */
async function liveRegistrations(directory: string, own: string): Promise<LiveRegistration[]> {
  const namespace = await ownNamespace();
  const registrations: LiveRegistration[] = [];
  for await (const { name } of Deno.readDir(directory)) {
    const path = join(directory, name);
    if (name === GUARD || path === own) continue;
    using dead = FileLock.tryAcquire(path);
    if (dead !== undefined) {
      await Deno.remove(path);
      continue;
    }
    const entry = readEntry(await Deno.readTextFile(path).catch(() => ""));
    const network = Prefix.parse(entry?.network ?? "");
    if (entry?.namespace !== namespace || network === undefined) continue;
    registrations.push({ holder: entry.holder, network, resources: entry.resources });
  }
  return registrations;
}

/** Removes the files of agents that have ended, and the directory when it is then empty. */
export async function removeStaleRegistrations(directory = DIRECTORY): Promise<void> {
  try {
    using _guard = FileLock.tryAcquire(join(directory, GUARD));
    if (_guard === undefined) return;
    let alive = false;
    for await (const { name } of Deno.readDir(directory)) {
      if (name === GUARD) continue;
      using dead = FileLock.tryAcquire(join(directory, name));
      if (dead === undefined) alive = true;
      else await Deno.remove(dead.path);
    }
    if (alive) return;
    await Deno.remove(join(directory, GUARD));
    await Deno.remove(directory);
  } catch (error) {
    verbose(1, `cannot remove ${directory}: ${(error as Error).message}`);
  }
}

async function takeGuard(directory: string, signal: AbortSignal): Promise<FileLock> {
  const deadline = performance.now() + GUARD_TIMEOUT_MS;
  const path = join(directory, GUARD);
  for (;;) {
    const guard = FileLock.tryAcquire(path);
    if (guard !== undefined) return guard;
    if (performance.now() > deadline) {
      throw new Error(`${describeHolder(findLockHolder(path))} holds the lock of ${path}`);
    }
    await sleep(10, signal);
    signal.throwIfAborted();
  }
}

function refuseClash(holder: string, own: HostRegistration, other: LiveRegistration): void {
  const { network } = other;
  const clashing = `${other.holder}, which is served on this host`;
  const shared = own.resources.find((one) => other.resources.includes(one));
  if (own.network.overlaps(network)) {
    throw new ClashError(
      `${holder} cannot be served: its Network ${own.network} overlaps ${network} of ${clashing}; ` +
        `give each network a range of its own`,
    );
  }
  if (shared !== undefined) {
    throw new ClashError(
      `${holder} cannot be served: its ${shared} is used by ${clashing}; give its Backend another one`,
    );
  }
}

/** @returns `undefined` when the text is not an entry: a full disk cut it, or a person wrote it */
function readEntry(text: string): Entry | undefined {
  try {
    const { holder, namespace, network, resources } = JSON.parse(text);
    const isEntry = [holder, namespace, network].every((one) => typeof one === "string") &&
      Array.isArray(resources);
    return isEntry ? { holder, namespace, network, resources } : undefined;
  } catch {
    return undefined;
  }
}
