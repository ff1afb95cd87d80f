import type { CommandResult, LabHost } from "./host.ts";
import type { LabProcess } from "./process.ts";
import { FLANNELD } from "./unit.ts";

const SCRIPTS = new URL("../../scripts/", import.meta.url).pathname;

/** The unit under test. */
export const UNIT = `${SCRIPTS}systemd/flanneld.service`;

/** Prefix of the control groups; the id of the process that owns one comes next. */
const GROUP_PREFIX = "flanneld-lab-";

/** How long a single command may take, in milliseconds. */
const COMMAND_TIMEOUT = 60_000;

/**
 * Becomes PID 1 of the lab's systemd: with control groups of its own, the directories that packages write to
 * with the host's changes on top, a journal, and no unit of the machine's beside it.
 *
 * Mounts the BPF file system again because the present one is the host's own mount, which
 * systemd would take for part of the machine.
 */
const INIT = `
set -e
mkdir -p /run/lab-cgroup
mount -t cgroup2 cgroup2 /run/lab-cgroup
mkdir -p "/run/lab-cgroup/$2"
echo $$ > "/run/lab-cgroup/$2/cgroup.procs"
umount /run/lab-cgroup
exec unshare --cgroup --mount --pid --fork --kill-child sh -c '
set -e
mount --make-rprivate /
mount -t proc proc /proc
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for tree in opt usr/bin usr/lib usr/libexec usr/share; do
  mkdir -p "$1/$tree" "$1/work/$tree"
  mount -t overlay -o "lowerdir=/$tree,upperdir=$1/$tree,workdir=$1/work/$tree" overlay "/$tree"
done
mkdir -p /run/systemd/system /run/systemd/journald.conf.d
printf "[Journal]\\nStorage=volatile\\nReadKMsg=no\\nAudit=no\\nForwardToConsole=no\\n" \\
  > /run/systemd/journald.conf.d/lab.conf
for unit in systemd-journald-dev-log.socket tmp.mount; do
  ln -s /dev/null "/run/systemd/system/$unit"
done
printf "[Unit]\\nDescription=Lab\\nWants=systemd-journald.service\\n" > /run/systemd/system/lab.target
: > /run/lab-console
mount --bind /run/lab-console /dev/console
export container=lab
exec /usr/lib/systemd/systemd --system --unit=lab.target --log-target=console --show-status=no
' init "$1"
`;

/**
 * A real systemd on a lab host, as PID 1 of a namespace inside of the host's own. Units are what the
 * host's `/etc/systemd/system` and the machine have; none is started by itself but the journal.
 */
export class LabSystemd implements AsyncDisposable {
  readonly #host: LabHost;
  readonly #process: LabProcess;
  readonly #group: string;
  /** Of systemd, as seen from outside. */
  readonly #pid: number;

  private constructor(host: LabHost, process: LabProcess, group: string, pid: number) {
    this.#host = host;
    this.#process = process;
    this.#group = group;
    this.#pid = pid;
  }

  /**
   * Boots.
   *
   * @throws {Error} with systemd's own output, when it does not come up
   */
  static async start(host: LabHost): Promise<LabSystemd> {
    const group = `${GROUP_PREFIX}${Deno.pid}-${crypto.randomUUID().slice(0, 8)}`;
    const process = await host.spawn(["sh", "-c", INIT, "init", `${host.dir}/systemd`, group]);
    const deadline = Date.now() + 20_000;
    for (;;) {
      const pid = childOf(process.pid);
      if (pid !== undefined) {
        const systemd = new LabSystemd(host, process, group, pid);
        const { code } = await systemd.run(["systemctl", "is-active", "lab.target"]);
        if (code === 0) return systemd;
      }
      if (!process.running || Date.now() > deadline) {
        const console = await host.readTextFile("/run/lab-console").catch(() => "");
        throw new Error(`${host.name}: systemd does not come up\n${process.output}${console}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** The path by which a file can be reached from outside. */
  path(inside: string): string {
    return `/proc/${this.#pid}/root${inside}`;
  }

  /**
   * Runs a command to its end and gives its standard output.
   *
   * @throws {Error} when it does not exit with 0
   */
  async exec(command: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(command);
    if (code !== 0) {
      throw new Error(
        `${this.#host.name}: ${command.join(" ")}: exit code ${code}\n${stdout}${stderr}`,
      );
    }
    return stdout;
  }

  /** Runs a command to its end, as a login on the host would. */
  async run(command: readonly string[]): Promise<CommandResult> {
    const namespaces = ["--net", "--mount", "--uts", "--pid", "--cgroup", "--root", "--wd"];
    const { code, stdout, stderr } = await new Deno.Command("nsenter", {
      args: ["--target", String(this.#pid), ...namespaces, "--", ...command],
      clearEnv: true,
      env: {
        PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        HOME: "/root",
        LANG: "C.UTF-8",
        SYSTEMD_PAGER: "",
      },
      stdin: "null",
      signal: AbortSignal.timeout(COMMAND_TIMEOUT),
    }).output();
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  }

  /** A property of a unit. */
  async property(unit: string, name: string): Promise<string> {
    return (await this.exec(["systemctl", "show", "--value", `--property=${name}`, unit])).trim();
  }

  /** Returns the log of a unit. */
  journal(unit: string): Promise<string> {
    return this.exec(["journalctl", "--quiet", "--no-pager", "--output=cat", `--unit=${unit}`]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.kill();
    // Its processes end with it, but not at the same instant.
    for (const mount of cgroupMounts()) await removeGroup(`${mount}/${this.#group}`);
  }
}

/** Puts the agent where its package does, on a host that systemd runs. */
export async function installAgent(systemd: LabSystemd): Promise<void> {
  const files = [
    [FLANNELD, "/usr/bin/flanneld"],
    [`${SCRIPTS}mk-docker-opts.sh`, "/usr/libexec/flannel/mk-docker-opts.sh"],
    [UNIT, "/etc/systemd/system/flanneld.service"],
  ] as const;
  for (const [from, to] of files) {
    await systemd.exec(["mkdir", "-p", to.replace(/\/[^/]*$/, "")]);
    await Deno.copyFile(from, systemd.path(to));
  }
  await systemd.exec(["systemctl", "daemon-reload"]);
}

function childOf(pid: number): number | undefined {
  try {
    const children = Deno.readTextFileSync(`/proc/${pid}/task/${pid}/children`).trim().split(" ");
    for (const child of children) {
      if (Deno.readTextFileSync(`/proc/${child}/comm`).trim() === "systemd") return Number(child);
    }
  } catch (error) {
    // A process may end between open(2) and read(2).
    const isGone = error instanceof Deno.errors.NotFound ||
      (error as { code?: string }).code === "ESRCH";
    if (!isGone) throw error;
  }
  return undefined;
}

/** Returns the machine's mount points of control groups version 2. */
function cgroupMounts(): string[] {
  return Deno.readTextFileSync("/proc/self/mountinfo").split("\n")
    .filter((line) => line.includes(" - cgroup2 ")).map((line) => line.split(" ")[4]!);
}

async function removeGroup(path: string): Promise<void> {
  for (let attempt = 0;; attempt++) {
    try {
      for await (const { name, isDirectory } of Deno.readDir(path)) {
        if (isDirectory) await removeGroup(`${path}/${name}`);
      }
      await Deno.remove(path);
      return;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return;
      if (attempt === 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
