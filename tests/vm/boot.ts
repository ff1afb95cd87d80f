import { linesOf, run } from "../lab/command.ts";
import type { Kernel } from "./kernel.ts";

/** Kernel modules that the VM needs to mount the host's files. */
const MODULES = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];

/** Modules that it needs for a disk. */
const DISK_MODULES = ["virtio_blk", "ext4"];

/**
 * The emulated processor takes one nanosecond an instruction, however long that takes here: the VM's clock runs slower
 * the busier it is, so that no limit of time in a test is for this machine's load.
 */
const CLOCK = ["-accel", "tcg,thread=single", "-icount", "shift=0"];

/** Without AVX, which libc would choose where it is, and which takes a quarter longer to emulate. */
const CPU = "Nehalem";

const INIT = new URL("./init.sh", import.meta.url).pathname;

/** Options of {@linkcode runInVm}. */
export interface VmOptions {
  readonly kernel: Kernel;
  /** For `sh`, run as root with the machine's files, which it can change for itself alone. */
  readonly command: string;
  /** Stays readable where the VM has a /tmp or /run of its own over it. */
  readonly directory: string;
  /** Ends the VM. */
  readonly signal: AbortSignal;
  /** Called with each line of the command's output. */
  readonly onLine: (line: string) => void;
  /** Boots systemd, which runs the command when all services have started. @default false */
  readonly systemd?: boolean;
  /** Path of an image of ext4 that keeps what the VM writes, for its next boot. @default none */
  readonly disk?: string;
  /** MiB. @default 3072 */
  readonly memory?: number;
}

/**
 * Boots a kernel in a VM, with this machine's root file system below a layer of memory, and runs a
 * command there. The processor is emulated, so that it works inside of VMs and without /dev/kvm.
 *
 * @returns the command's exit code
 * @throws {Error} when the VM ends before the command does; with the kernel's last words
 */
export async function runInVm(options: VmOptions): Promise<number> {
  const { kernel, signal, onLine, disk, memory = 3072 } = options;
  const directory = await Deno.makeTempDir({ prefix: "flanneld-vm-" });
  try {
    const console = `${directory}/console`;
    const initrd = await packInitrd(options, directory);
    // systemd sets a clock back that is 15 years ahead of its own build's date, which need not be a true one.
    const clock = `systemd.clock_usec=${Date.now()}000`;
    const child = new Deno.Command("qemu-system-x86_64", {
      args: [
        ...[...CLOCK, "-cpu", CPU, "-smp", "2", "-m", String(memory)],
        ...["-display", "none", "-no-reboot", "-nic", "none"],
        ...["-serial", `file:${console}`, "-serial", "stdio"],
        ...["-kernel", kernel.image, "-initrd", initrd],
        ...["-append", `console=ttyS0 quiet panic=-1 mitigations=off ${clock}`],
        ...["-virtfs", shared("/", "root")],
        ...["-virtfs", shared(`${kernel.root}/lib/modules`, "modules")],
        ...(disk === undefined ? [] : ["-drive", `file=${disk},format=raw,if=virtio`]),
      ],
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
      signal,
    }).spawn();
    let code: number | undefined;
    for await (const line of linesOf(child.stdout)) {
      const exit = /^vm: exit code (\d+)$/.exec(line)?.[1];
      if (exit !== undefined) code = Number(exit);
      else onLine(line);
    }
    await child.status;
    signal.throwIfAborted();
    if (code === undefined) {
      throw new Error(`the VM ended early: ${(await Deno.readTextFile(console)).slice(-2000)}`);
    }
    return code;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

function shared(path: string, tag: string): string {
  return `local,path=${path},mount_tag=${tag},security_model=none,readonly=on,multidevs=remap`;
}

/** Packs busybox, the first process, the modules in the order in which they load, and the command. */
async function packInitrd(
  { kernel: { release, root }, command, directory: shown, disk, systemd = false }: VmOptions,
  directory: string,
): Promise<string> {
  const files = `${directory}/initrd.d`;
  for (const one of ["bin", "modules"]) await Deno.mkdir(`${files}/${one}`, { recursive: true });
  const order = new Set<string>();
  for (const module of [...MODULES, ...(disk === undefined ? [] : DISK_MODULES)]) {
    const text = await run(["modprobe", "-S", release, "-d", root, "--show-depends", module]);
    for (const [, path] of text.matchAll(/^insmod (\S+)/gm)) {
      const name = path!.split("/").at(-1)!;
      order.add(name);
      await Deno.copyFile(path!, `${files}/modules/${name}`);
    }
  }
  await Deno.writeTextFile(`${files}/modules/order`, [...order].join("\n"));
  await Deno.writeTextFile(`${files}/command`, command);
  await Deno.writeTextFile(`${files}/directory`, shown);
  if (systemd) await Deno.writeTextFile(`${files}/systemd`, "");
  await Deno.copyFile("/usr/bin/busybox", `${files}/bin/busybox`);
  await Deno.copyFile(INIT, `${files}/init`);
  await Deno.chmod(`${files}/init`, 0o755);
  await run(["sh", "-c", "find . | cpio --quiet -o -H newc > ../initrd"], { cwd: files });
  return `${directory}/initrd`;
}
