import { join } from "node:path/posix";
import { sleep } from "../../async/sleep.ts";
import { makeDirectory } from "../../export/atomic_file.ts";
import { ExportError, reasonOf } from "../../export/errors.ts";
import { chainTag } from "../../firewall/mod.ts";
import { Prefix } from "../../ip/mod.ts";
import { verbose } from "../../observe/mod.ts";
import { describeHolder, FileLock, findLockHolder } from "../../sys/mod.ts";
import type { AgentOptions } from "../core/options.ts";

/** Where the agents of a host write down what they serve. */
const DIRECTORY = "/run/flannel/agents";

/** Held while the directory is looked through. */
const GUARD = ".lock";

/** How long another may look through it, in milliseconds: a few files. */
const PATIENCE = 5_000;

/** What an agent asks for: nobody else on the host may have it. */
export interface HostClaim {
  readonly network: Prefix;
  /** What the backend takes that the kernel has once: `VNI 1`, `UDP port 8285`. */
  readonly resources: readonly string[];
}

/** A network cannot be served beside another of this host. The message is one line and names both. */
export class ClashError extends Error {
  override readonly name = "ClashError";
}

/** As it is written to an entry's file. */
interface Entry {
  /** Who it is, for messages. */
  readonly holder: string;
  /** Network namespace: what is in another one does not meet ours. */
  readonly namespace: string;
  readonly network: string;
  readonly resources: readonly string[];
}

/** Options of {@linkcode HostClaims}. */
export interface HostClaimsOptions {
  /** Who claims, for others' messages: `network "blue"`. */
  readonly holder: string;
  /** Path of the agent's subnet file, which is its alone. */
  readonly subnetFile: string;
  /** @default "/run/flannel/agents" */
  readonly directory?: string;
}

/**
 * Keeps networks of one host off each other, in one process or in several: two with one VNI would
 * empty each other's device, two with overlapping ranges take each other's routes.
 *
 * Each agent writes what it serves to a file, and holds a lock on it that the kernel gives back however
 * the agent ends. Who cannot write there goes without.
 */
export class HostClaims implements AsyncDisposable {
  readonly #holder: string;
  readonly #subnetFile: string;
  readonly #directory: string;
  readonly #path: string;
  #lock: FileLock | undefined;
  #others: readonly Prefix[] = [];

  constructor({ holder, subnetFile, directory = DIRECTORY }: HostClaimsOptions) {
    this.#holder = holder;
    this.#subnetFile = subnetFile;
    this.#directory = directory;
    this.#path = pathOf(directory, subnetFile);
  }

  /** Networks that others serve on this host, as of the last claim or {@linkcode refresh}. */
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
      verbose(1, `Other networks of this host cannot be read: ${(error as Error).message}`);
    }
  }

  /**
   * Claims what a network is about to take, in place of what was claimed before.
   *
   * @throws {ClashError} when another network of the host has some of it; what was claimed before stays
   */
  async claim(claim: HostClaim, signal: AbortSignal): Promise<void> {
    let guard: FileLock;
    try {
      await makeDirectory(this.#directory);
      guard = await takeGuard(this.#directory, signal);
    } catch (error) {
      signal.throwIfAborted();
      verbose(1, `Other networks of this host cannot be told: ${(error as Error).message}`);
      return;
    }
    using _guard = guard;
    const others: Prefix[] = [];
    for (const other of await liveClaims(this.#directory, this.#path)) {
      refuseClash(this.#holder, claim, other);
      others.push(other.network);
    }
    this.#others = others;
    this.#lock ??= FileLock.tryAcquire(this.#path);
    const entry: Entry = {
      holder: this.#holder,
      namespace: await ownNamespace(),
      network: String(claim.network),
      resources: claim.resources,
    };
    try {
      await Deno.writeTextFile(this.#path, JSON.stringify(entry));
    } catch (error) {
      // A full disk: others are not told, and this one works all the same.
      verbose(1, `Other networks of this host are not told of this one: ${reasonOf(error)}`);
    }
  }

  /** Gives back what was claimed. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#lock === undefined) return;
    await Deno.remove(this.#path).catch(() => {});
    this.#lock[Symbol.dispose]();
    this.#lock = undefined;
  }
}

/** What an agent serves that runs now. */
export interface LiveClaim extends HostClaim {
  /** Who it is, for messages: `network "blue" of flanneld 4711`. */
  readonly holder: string;
}

/**
 * What the agents serve that run now in this network namespace, but for the one of a subnet file.
 *
 * @param subnetFile whose agent is not meant
 * @throws {ExportError} when that cannot be told
 */
export async function servedBeside(
  subnetFile: string,
  signal: AbortSignal,
  directory = DIRECTORY,
): Promise<readonly LiveClaim[]> {
  try {
    await Deno.lstat(directory);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
  try {
    using _guard = await takeGuard(directory, signal);
    return await liveClaims(directory, pathOf(directory, subnetFile));
  } catch (cause) {
    signal.throwIfAborted();
    throw ExportError.from("cannot tell what else is served on this host", cause);
  }
}

/** Networks that others than the agent of a subnet file serve here; none where that cannot be read. */
export async function readOthers(
  subnetFile: string,
  signal: AbortSignal,
): Promise<readonly Prefix[]> {
  await using claims = new HostClaims({ holder: "a reader", subnetFile });
  await claims.refresh(signal);
  return claims.others;
}

/**
 * True when other networks are served on this host, or may be while their agents are stopped: this
 * agent serves a named network, or has a subnet file of its own.
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

/** What others claim who live; the files of those who do not are removed. The guard is to be held. */
async function liveClaims(directory: string, own: string): Promise<LiveClaim[]> {
  const namespace = await ownNamespace();
  const claims: LiveClaim[] = [];
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
    claims.push({ holder: entry.holder, network, resources: entry.resources });
  }
  return claims;
}

/** Removes what agents have left that were killed, and the directory when that is all. */
export async function sweepClaims(directory = DIRECTORY): Promise<void> {
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
    verbose(1, `${directory} stays: ${(error as Error).message}`);
  }
}

async function takeGuard(directory: string, signal: AbortSignal): Promise<FileLock> {
  const deadline = performance.now() + PATIENCE;
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

function refuseClash(holder: string, claim: HostClaim, other: LiveClaim): void {
  const { network } = other;
  const theirs = `${other.holder}, which is served on this host`;
  const shared = claim.resources.find((one) => other.resources.includes(one));
  if (claim.network.overlaps(network)) {
    throw new ClashError(
      `${holder} cannot be served: its Network ${claim.network} overlaps ${network} of ${theirs}; ` +
        `give each network a range of its own`,
    );
  }
  if (shared !== undefined) {
    throw new ClashError(
      `${holder} cannot be served: its ${shared} is that of ${theirs}; give its Backend another one`,
    );
  }
}

/** @returns `undefined` for what is no entry: a full disk may have cut it, or a person have written it */
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
