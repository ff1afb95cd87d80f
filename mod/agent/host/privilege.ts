/**
 * Check of this process's privileges before it acquires a lease.
 *
 * @module
 */
import type { Backend } from "../../../backends/backend.ts";

/** This process lacks a capability. The message is one line and names the remedy. */
export class PrivilegeError extends Error {
  override readonly name = "PrivilegeError";
}

/** Privileges of a process, see capabilities(7). */
export interface Privilege {
  /** The effective set, one bit per capability. */
  readonly capabilities: bigint;
  /** The effective user. */
  readonly uid: number;
}

/** Bit of linux/capability.h. */
const CAP_NET_ADMIN = 12n;

/**
 * Checks that this process may change the kernel for a network. Otherwise the kernel would refuse the first
 * change only after a lease was acquired and other hosts send packets here.
 *
 * A process in a user namespace that does not own its network namespace passes this check, but the kernel
 * refuses its changes.
 *
 * @param backend the network's backend
 * @param ipMasq whether masquerading is requested
 * @param privilege privileges of this process; `undefined` when unknown
 * @throws {PrivilegeError} when CAP_NET_ADMIN is missing
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
      // Root lacks it in a container or a restricted unit.
      (uid === 0
        ? "give its unit CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW, or its container " +
          "--cap-add=NET_ADMIN"
        : "run it as root, or give its unit AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW"),
  );
}

/** Reads /proc/self/status, see proc_pid_status(5). */
function ownPrivilege(): Privilege | undefined {
  try {
    return readPrivilege(Deno.readTextFileSync("/proc/self/status"));
  } catch {
    // Without /proc the kernel decides at the first change.
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
