/**
 * Whether this process may do what a network takes: found out before a lease is taken for it.
 *
 * @module
 */
import type { Backend } from "../../../backends/backend.ts";

/** This process lacks a capability. The message is one line and names the cure. */
export class PrivilegeError extends Error {
  override readonly name = "PrivilegeError";
}

/** What a process may do, as capabilities(7) has it. */
export interface Privilege {
  /** The effective set, a bit each. */
  readonly capabilities: bigint;
  /** The effective user. */
  readonly uid: number;
}

/** Bit of linux/capability.h. */
const CAP_NET_ADMIN = 12n;

/**
 * Sees to it that this process may change what a network takes in the kernel. The kernel would say so at
 * the first change, when a lease has been taken already and other hosts send their packets here.
 *
 * A process in a user namespace that does not own its network namespace passes this, and is refused by
 * the kernel nevertheless.
 *
 * @param backend of the network
 * @param ipMasq whether masquerading is asked for
 * @param privilege what this process may do; `undefined` where that cannot be told
 * @throws {PrivilegeError} when it may not
 */
export function requirePrivilege(
  { type, changesKernel }: Pick<Backend, "type" | "changesKernel">,
  ipMasq: boolean,
  privilege: Privilege | undefined = ownPrivilege(),
): void {
  const what = changesKernel ? `backend ${type}` : ipMasq ? "-ip-masq" : undefined;
  if (what === undefined || privilege === undefined) return;
  const { capabilities, uid } = privilege;
  if ((capabilities >> CAP_NET_ADMIN & 1n) === 1n) return;
  throw new PrivilegeError(
    `${what} needs CAP_NET_ADMIN, which this process does not have: ` +
      // Root lacks it where something has taken it away.
      (uid === 0
        ? "give its unit CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW, or its container " +
          "--cap-add=NET_ADMIN"
        : "run it as root, or give its unit AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW"),
  );
}

/** Of /proc/self/status, see proc_pid_status(5). */
function ownPrivilege(): Privilege | undefined {
  try {
    return readPrivilege(Deno.readTextFileSync("/proc/self/status"));
  } catch {
    // Without /proc the kernel has the say.
    return undefined;
  }
}

/** Reads the text of /proc/PID/status. Exported for its test. */
export function readPrivilege(status: string): Privilege | undefined {
  const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  // Real, effective, saved, of the file system.
  const uid = /^Uid:\s*\d+\s+(\d+)/m.exec(status)?.[1];
  if (mask === undefined || uid === undefined) return undefined;
  return { capabilities: BigInt(`0x${mask}`), uid: Number(uid) };
}
