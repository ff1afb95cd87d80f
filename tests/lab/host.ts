import { BUNDLED_LIBRARIES } from "./executable.ts";
import { LabProcess } from "./process.ts";

/** How long a single command in a host may take, in milliseconds. */
const COMMAND_TIMEOUT = 60_000;

/** Result of {@linkcode LabHost.run}. */
export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Options of commands in a host. */
export interface CommandOptions {
  /** Added to a bare environment: nothing of the tester's own leaks into the host. */
  readonly env?: Readonly<Record<string, string>>;
  /** Written to the command's standard input. */
  readonly stdin?: string;
  /** Milliseconds. @default 60000 */
  readonly timeout?: number;
}

/** A command in a host that did not exit with 0. */
export class LabCommandError extends Error {
  override readonly name = "LabCommandError";

  constructor(host: string, command: readonly string[], readonly result: CommandResult) {
    super(
      `${host}: ${command.join(" ")}: exit code ${result.code}\n${result.stdout}${result.stderr}`,
    );
  }
}

/**
 * The first process of a host: prepares its namespaces, prints `ready`, and ends
 * when its standard input does. It is PID 1 of its PID namespace, so that its end kills all that
 * runs in the host; and its standard input ends with the tester, however that ends. Nothing
 * outlives a lab, and nothing has a name that the next one could clash with.
 *
 * `/etc` and `/var/lib` are the machine's, with the host's own changes on top; `/run` and the BPF file
 * system start empty. `/usr/lib` has the libraries of an executable that brings its own.
 */
const INIT = `
set -e
cd /
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
for tree in etc var/lib; do
  mkdir -p "$1/$tree" "$1/work/$tree"
  mount -t overlay -o "lowerdir=/$tree,upperdir=$1/$tree,workdir=$1/work/$tree" overlay "/$tree"
done
mount -t bpf bpf /sys/fs/bpf
[ -z "$4" ] || mount -t overlay -o "lowerdir=$4:/usr/lib" overlay /usr/lib
hostname "$2"
echo "$2" > /etc/hostname
echo "$3" > /etc/machine-id
# The machine's own name servers may be in a network of a test.
echo nameserver 127.0.0.1 > /etc/resolv.conf
ip link set lo up
echo ready
cat > /dev/null
exit 0
`;

/**
 * One machine of the lab: network, mount, UTS and PID namespaces of its own.
 *
 * Kernel, file system (outside `/etc`, `/var/lib` and `/run`), users and cgroups are shared with
 * the tester.
 */
export class LabHost implements AsyncDisposable {
  /** `host100` */
  readonly name: string;
  /** 32 hex digits, in the host's `/etc/machine-id`. */
  readonly machineId: string;
  /** Process id of the host's first process, as seen from outside. */
  readonly pid: number;
  /** Directory for what belongs to this host; outside its overlays. */
  readonly dir: string;
  readonly #init: Deno.ChildProcess;

  private constructor(name: string, machineId: string, dir: string, init: LabInit) {
    this.name = name;
    this.machineId = machineId;
    this.dir = dir;
    this.#init = init.process;
    this.pid = init.pid;
  }

  /**
   * Starts a host without any network but loopback.
   *
   * @param dir an empty directory for its files, on a file system that can carry an overlay
   * @throws {Error} with the reason, when the namespaces cannot be made (needs root)
   */
  static async start(name: string, dir: string): Promise<LabHost> {
    const machineId = crypto.randomUUID().replaceAll("-", "");
    const process = new Deno.Command("unshare", {
      args: [
        ..."--net --mount --uts --pid --fork --kill-child --".split(" "),
        ...["sh", "-c", INIT, "init", `${dir}/root`, name, machineId, BUNDLED_LIBRARIES ?? ""],
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const ready = await readLine(process.stdout);
    if (ready !== "ready") {
      const { code } = await process.status;
      await process.stdin.close().catch(() => {}); // broken already: its reader is gone
      throw new Error(`lab host ${name} did not start (unshare exited with ${code}); needs root`);
    }
    const children = await Deno.readTextFile(`/proc/${process.pid}/task/${process.pid}/children`);
    return new LabHost(name, machineId, dir, { process, pid: Number(children) });
  }

  /** The path by which a file of the host can be reached from outside. */
  path(inside: string): string {
    return `/proc/${this.pid}/root${inside}`;
  }

  /** Reads a file of the host. */
  readTextFile(inside: string): Promise<string> {
    return Deno.readTextFile(this.path(inside));
  }

  /**
   * Writes a file of the host; directories that are missing are made.
   *
   * @param mode of the file, for one that others must not read
   */
  async writeTextFile(inside: string, text: string, mode?: number): Promise<void> {
    const path = this.path(inside);
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    await Deno.writeTextFile(path, text);
    // An existing file keeps its mode, and the umask counts.
    if (mode !== undefined) await Deno.chmod(path, mode);
  }

  /**
   * Runs a command to its end and gives its standard output.
   *
   * @throws {LabCommandError} when it does not exit with 0
   */
  async exec(command: readonly string[], options: CommandOptions = {}): Promise<string> {
    const result = await this.run(command, options);
    if (result.code !== 0) throw new LabCommandError(this.name, command, result);
    return result.stdout;
  }

  /** Runs a command to its end, whatever its exit code. */
  async run(
    command: readonly string[],
    { env = {}, stdin, timeout = COMMAND_TIMEOUT }: CommandOptions = {},
  ): Promise<CommandResult> {
    const child = this.#command(command, env, {
      stdin: stdin === undefined ? "null" : "piped",
      signal: AbortSignal.timeout(timeout),
    }).spawn();
    if (stdin !== undefined) {
      const writer = child.stdin.getWriter();
      await writer.write(new TextEncoder().encode(stdin));
      await writer.close();
    }
    const { code, stdout, stderr } = await child.output();
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  }

  /** Starts a command that goes on in the background. */
  spawn(
    command: readonly string[],
    { env = {} }: Pick<CommandOptions, "env"> = {},
  ): Promise<LabProcess> {
    return LabProcess.start(`${this.name}: ${command[0]}`, this.#command(command, env, {}));
  }

  /**
   * Pings from the host itself.
   *
   * @param args further arguments of iputils' or busybox' `ping`
   * @returns how many of the requests were answered
   */
  async ping(
    address: string,
    { count = 1, args = [] }: { count?: number; args?: readonly string[] } = {},
  ): Promise<number> {
    const { stdout, stderr } = await this.run([
      ...["busybox", "ping", "-c", String(count), "-W", "2", ...args],
      address,
    ]);
    const received = /(\d+) packets received/.exec(stdout)?.[1];
    if (received === undefined) {
      throw new Error(`${this.name}: ping ${address}: ${stdout}${stderr}`);
    }
    return Number(received);
  }

  /** Takes the host down: everything in it is killed, its namespaces and their devices vanish. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#init.stdin.close().catch(() => {}); // broken already when the host died by itself
    await this.#init.status;
  }

  #command(
    command: readonly string[],
    env: Readonly<Record<string, string>>,
    options: Pick<Deno.CommandOptions, "stdin" | "signal">,
  ): Deno.Command {
    return new Deno.Command("nsenter", {
      args: [
        // In a chroot the mount namespace's own root is another one.
        ...[
          "--target",
          String(this.pid),
          "--net",
          "--mount",
          "--uts",
          "--pid",
          "--root",
          "--wd",
          "--",
        ],
        ...command,
      ],
      clearEnv: true,
      env: {
        PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        HOME: Deno.env.get("HOME") ?? "/root",
        LANG: "C",
        ...env,
      },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      ...options,
    });
  }
}

interface LabInit {
  readonly process: Deno.ChildProcess;
  readonly pid: number;
}

/** Reads the first line of a stream and closes it; returns the text so far when it ends early. */
async function readLine(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<string> {
  let text = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    if (text.includes("\n")) break;
  }
  return text.split("\n")[0]!;
}
