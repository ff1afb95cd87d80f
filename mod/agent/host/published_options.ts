/**
 * The options that an agent was started with, published for `flanneld doctor`, `plan` and the like: in a file
 * that outlives the agent, and on its status socket. The agent does not read them itself.
 *
 * @module
 */

import { dirname, join } from "node:path/posix";
import { makeDirectory, writeFileAtomically } from "../../export/atomic_file.ts";
import { reasonOf } from "../../export/errors.ts";
import { warning } from "../../observe/mod.ts";
import { getUnix } from "../../http/client.ts";
import { FileLock, findLockHolder } from "../../sys/mod.ts";
import { VERSION } from "../../version.ts";
import type { AgentOptions } from "../core/options.ts";

/** Holds one file for each agent of this host. */
export const OPTIONS_DIRECTORY = "/run/flannel/options";

/** Version of the file; a change that breaks readers raises it. */
const OPTIONS_VERSION = 1;

/** Largest file that is read, in bytes: a command line has 128 KiB at most for one word (execve(2)). */
const MAX_BYTES = 1 << 20;

/** For an answer over the socket, in milliseconds. An agent that is stopped by SIGSTOP accepts and never answers. */
const ASK_TIMEOUT_MS = 2_000;

/** The bits of a file's mode that let its group and others write, S_IWGRP | S_IWOTH of inode(7). */
const OTHERS_WRITE = 0o022;

/** Options of an agent as flags, without secrets. */
export interface EffectiveFlags {
  /**
   * Value by the flag's name without a dash: a list for a flag that may be given several times, `null` for one
   * that was not given and has no default.
   */
  readonly flags: Readonly<Record<string, FlagValue | readonly FlagValue[] | null>>;
  /** Names of flags that were given, and whose values are left out because they are or hold secrets. */
  readonly withheld: readonly string[];
}

type FlagValue = boolean | number | string;

/** The content of the file, and of `/options` on the socket. */
export interface PublishedOptions extends EffectiveFlags {
  readonly optionsVersion: typeof OPTIONS_VERSION;
  /** Version of flanneld. */
  readonly version: string;
  /** Network namespace of the agent, as `/proc/self/ns/net` links to it. */
  readonly namespace: string;
  /** True when the sysconfig file asked for the same options when the agent started. */
  readonly isFromSysconfig: boolean;
}

/** An agent that runs or ran on this host. */
export interface PublishedAgent {
  readonly published: PublishedOptions;
  readonly isRunning: boolean;
}

/** Adds to the flags who publishes them. */
export function publishedOptions(
  effective: EffectiveFlags & Pick<PublishedOptions, "isFromSysconfig">,
): PublishedOptions {
  return {
    optionsVersion: OPTIONS_VERSION,
    version: VERSION,
    namespace: networkNamespace(),
    ...effective,
  };
}

/**
 * Writes the file of an agent in place of the one that its predecessor left, and marks the agent as running for
 * as long as the result lives. The file has no secrets, and everyone may read it. Logs a failure: an agent
 * works without the file.
 *
 * @param agent its options, which name the file
 */
export async function publishOptions(
  agent: Pick<AgentOptions, "subnetFile" | "networks">,
  published: PublishedOptions,
  directory: string = OPTIONS_DIRECTORY,
): Promise<Disposable> {
  const path = pathOf(agent, directory);
  try {
    await makeDirectory(directory);
    const lock = FileLock.tryAcquire(lockOf(path));
    // Another agent with the same -subnet-dir: each of its networks has a lock of its own.
    if (lock === undefined) return { [Symbol.dispose]: () => {} };
    try {
      await writeFileAtomically(path, `${JSON.stringify(published, undefined, 2)}\n`);
    } catch (error) {
      // The options of a former agent would be taken for those of this one.
      await Deno.remove(path).catch(() => {});
      lock[Symbol.dispose]();
      throw error;
    }
    return lock;
  } catch (cause) {
    const reason = reasonOf(cause);
    warning(
      `cannot publish the agent's options in ${directory}: ${reason}; ` +
        "subcommands may need the agent's flags",
      { error: reason },
    );
    return { [Symbol.dispose]: () => {} };
  }
}

/**
 * Reads the files of all agents in this network namespace, in the order of their names. Leaves out what another
 * user could have written.
 */
export async function readPublishedOptions(
  directory: string = OPTIONS_DIRECTORY,
): Promise<PublishedAgent[]> {
  const names: string[] = [];
  try {
    for await (const { name } of Deno.readDir(directory)) {
      if (name.endsWith(".json")) names.push(name);
    }
  } catch (error) {
    if (isAbsence(error)) return [];
    throw error;
  }
  const namespace = networkNamespace();
  const agents: PublishedAgent[] = [];
  for (const name of names.sort()) {
    const path = join(directory, name);
    const published = await readFile(path);
    if (published?.namespace !== namespace) continue;
    agents.push({ published, isRunning: findLockHolder(lockOf(path)) !== undefined });
  }
  return agents;
}

/**
 * Asks the agent behind a status socket for its options, where its file is missing.
 *
 * @returns `undefined` when no agent answers there
 */
export async function askPublishedOptions(socket: string): Promise<PublishedAgent | undefined> {
  try {
    const { status, body } = await getUnix(socket, "/options", { timeoutMs: ASK_TIMEOUT_MS });
    const published = status === 200 ? parsePublishedOptions(body) : undefined;
    return published && { published, isRunning: true };
  } catch {
    // Every reason comes to the same: no options.
    return undefined;
  }
}

/** Removes the file of an agent that has ended, and the directories that are empty then. */
export async function removePublishedOptions(
  agent: Pick<AgentOptions, "subnetFile" | "networks">,
  directory: string = OPTIONS_DIRECTORY,
): Promise<void> {
  const path = pathOf(agent, directory);
  if (findLockHolder(lockOf(path)) !== undefined) return;
  for (const one of [path, lockOf(path), directory, dirname(directory)]) {
    // Other agents' files keep a directory.
    await Deno.remove(one).catch(() => {});
  }
}

/** Reads the JSON of published options. Returns `undefined` for a text of another form. */
export function parsePublishedOptions(text: string): PublishedOptions | undefined {
  let value: Partial<PublishedOptions> | null;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (value === null || typeof value !== "object") return undefined;
  const { optionsVersion, version, namespace, flags, withheld, isFromSysconfig } = value;
  const isPublished = optionsVersion === OPTIONS_VERSION && typeof version === "string" &&
    typeof namespace === "string" && typeof flags === "object" && flags !== null &&
    Array.isArray(withheld) && withheld.every((name) => typeof name === "string") &&
    typeof isFromSysconfig === "boolean";
  return isPublished ? value as PublishedOptions : undefined;
}

async function readFile(path: string): Promise<PublishedOptions | undefined> {
  try {
    using file = await Deno.open(path);
    const { isFile, uid, mode, size } = await file.stat();
    if (!isFile || size > MAX_BYTES || ((mode ?? 0) & OTHERS_WRITE) !== 0) return undefined;
    if (uid !== 0 && uid !== Deno.uid()) return undefined;
    return parsePublishedOptions(await new Response(file.readable).text());
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
}

function isAbsence(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied ||
    error instanceof Deno.errors.NotADirectory;
}

/** One agent for a subnet file, or for a directory of several. */
function pathOf(
  { subnetFile, networks }: Pick<AgentOptions, "subnetFile" | "networks">,
  directory: string,
): string {
  const key = networks === undefined ? subnetFile : `${networks.directory}/`;
  return join(directory, `${encodeURIComponent(key)}.json`);
}

function lockOf(path: string): string {
  return `${path.slice(0, -".json".length)}.lock`;
}

function networkNamespace(): string {
  return Deno.readLinkSync("/proc/self/ns/net");
}
