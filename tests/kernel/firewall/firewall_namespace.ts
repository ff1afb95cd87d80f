/** A network namespace with loopback up, removed at the end of its scope. */
export class Namespace implements AsyncDisposable {
  static #count = 0;

  private constructor(readonly name: string) {}

  static async make(): Promise<Namespace> {
    const namespace = new Namespace(`fw-${Deno.pid}-${Namespace.#count++}`);
    await run("ip", "netns", "add", namespace.name);
    await namespace.run("ip", "link", "set", "lo", "up");
    return namespace;
  }

  /** Makes a command run inside; it execs, so that the process is the command itself. */
  get prefix(): readonly [string, ...string[]] {
    return ["nsenter", `--net=/run/netns/${this.name}`];
  }

  /** Runs a command inside and returns what it printed. */
  run(...command: string[]): Promise<string> {
    return run(...this.prefix, ...command);
  }

  /** Runs a command inside and returns whether it succeeded. */
  async succeeds(...command: string[]): Promise<boolean> {
    const [program, ...args] = [...this.prefix, ...command];
    const { success } = await new Deno.Command(program, { args, stdin: "null" }).output();
    return success;
  }

  /** Starts a command inside, its output piped. */
  spawn(...command: string[]): Deno.ChildProcess {
    const [program, ...args] = [...this.prefix, ...command];
    return new Deno.Command(program, { args, stdin: "null", stdout: "piped", stderr: "piped" })
      .spawn();
  }

  /** Joins this namespace to another by a veth pair with an address at each end. */
  async connect(
    here: { device: string; address: string },
    other: Namespace,
    there: { device: string; address: string },
  ): Promise<void> {
    await this.run(
      ...["ip", "link", "add", here.device, "type", "veth"],
      ...["peer", "name", there.device, "netns", other.name],
    );
    for (const [namespace, end] of [[this, here], [other, there]] as const) {
      await namespace.run("ip", "address", "add", end.address, "dev", end.device);
      await namespace.run("ip", "link", "set", end.device, "up");
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run("ip", "netns", "del", this.name);
  }
}

async function run(...command: string[]): Promise<string> {
  const [program, ...args] = command;
  const { success, stdout, stderr } = await new Deno.Command(program!, { args, stdin: "null" })
    .output();
  if (!success) throw new Error(`${command.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}
