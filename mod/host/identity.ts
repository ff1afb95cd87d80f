/** Identity of this host and of its present boot. */
export interface HostIdentity {
  /** 32 hex digits; two machines made from one image may share it. */
  readonly machineId: string;
  readonly hostname: string;
  /** A UUID, new at each boot of the kernel. */
  readonly bootId: string;
}

/** Options of {@linkcode hostIdentity}; for tests. */
export interface IdentityOptions {
  /** Root of the file tree. @default "" */
  readonly root?: string;
}

/** machine-id(5); the second is D-Bus's own, on hosts without systemd. */
const MACHINE_ID_FILES = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/** random(4) */
const BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id";

/**
 * Reads the identity of this host.
 *
 * Uses the boot id when there is no machine id. No image can copy a boot id to a second host, a restarted agent
 * still recognizes its record, and after a reboot a changed boot id requires a claim in any case.
 *
 * @throws {Error} when the kernel's boot id cannot be read
 */
export function hostIdentity({ root = "" }: IdentityOptions = {}): HostIdentity {
  const bootId = Deno.readTextFileSync(root + BOOT_ID_FILE).trim();
  const machineId = MACHINE_ID_FILES
    .map((path) => readMachineId(root + path))
    .find((id) => id !== undefined);
  return {
    machineId: machineId ?? bootId.replaceAll("-", ""),
    hostname: Deno.hostname(),
    bootId,
  };
}

function readMachineId(path: string): string | undefined {
  try {
    const id = Deno.readTextFileSync(path).trim();
    // Empty, or "uninitialized", in an image that has not booted yet.
    return /^[0-9a-f]{32}$/.test(id) ? id : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
