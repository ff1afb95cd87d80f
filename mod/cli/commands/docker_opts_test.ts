import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { DOCKER_OPTIONS_CASES } from "../../export/testing/docker_opts_cases.ts";
import { publishOptions } from "../../agent/host/published_options.ts";
import { ExportError } from "../../export/errors.ts";
import { dockerOpts } from "./docker_opts.ts";
import { UsageError } from "../errors.ts";
import { agentCommand, parseAgentFlags } from "../flags/agent_flags.ts";
import { publishedBy } from "../published/agent_of_host.ts";

const UNTOUCHED = "as it was\n";

async function inDirectory(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "docker-opts" });
  try {
    await work(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("dockerOpts() writes flannel's outputs", async (t) => {
  for (const { name, args, file, environment, output, error } of DOCKER_OPTIONS_CASES) {
    await t.step(name, () =>
      inDirectory(async (directory) => {
        const paths = ["-f", `${directory}/subnet.env`, "-d", `${directory}/out`];
        if (file !== undefined) await Deno.writeTextFile(paths[1]!, file);
        await Deno.writeTextFile(paths[3]!, UNTOUCHED);
        const call = () => dockerOpts([...paths, ...args], environment ?? {});
        if (output !== undefined) {
          assertEquals(await call(), 0);
          assertEquals(
            await Deno.readTextFile(paths[3]!),
            output.map((line) => line + "\n").join(""),
          );
        } else {
          const thrown = await assertRejects(call);
          assertEquals(thrown instanceof ExportError || thrown instanceof UsageError, true);
          assertStringIncludes((thrown as Error).message, error!);
          assertEquals(await Deno.readTextFile(paths[3]!), UNTOUCHED);
        }
      }));
  }
});

Deno.test("dockerOpts() refuses options that the script does not have", async () => {
  const cases: [string[], string][] = [
    [["-x"], "flag provided but not defined: -x"],
    [["-ix"], "flag provided but not defined: -ix"],
    [["-k"], "flag needs an argument: -k: expected name of that variable (default DOCKER_OPTS)"],
    [["-c=often"], 'invalid boolean value "often" for -c: parse error: expected true or false'],
    [["word"], 'unexpected argument "word" after the flags'],
    [["-subnet-file=/x"], "flag provided but not defined: -subnet-file"],
  ];
  for (const [args, message] of cases) {
    const error = await assertRejects(() => dockerOpts(args, {}), UsageError);
    assertEquals(error.message, message);
    assertEquals(error.exitCode, 2);
  }
});

Deno.test("dockerOpts() does without an env file, and makes the directory of what it writes", () =>
  inDirectory(async (directory) => {
    const out = `${directory}/new/docker`;
    assertEquals(await dockerOpts(["-f", `${directory}/none.env`, "-d", out], {}), 0);
    assertEquals(await Deno.readTextFile(out), 'DOCKER_OPTS=""\n');
  }));

Deno.test("dockerOpts() reads the file of this host's agent, running or stopped, unless -f is given", () =>
  inDirectory(async (directory) => {
    const paths = { options: `${directory}/options`, socketOf: () => `${directory}/none.sock` };
    const [env, other] = [`${directory}/agent.env`, `${directory}/other.env`];
    await Deno.writeTextFile(env, "FLANNEL_MTU=1450\n");
    await Deno.writeTextFile(other, "FLANNEL_MTU=1472\n");
    const written = async (args: string[], environment = {}) => {
      await dockerOpts(["-c", "-d", `${directory}/out`, ...args], environment, paths);
      return await Deno.readTextFile(`${directory}/out`);
    };
    const start = async (...args: string[]) => {
      const { options, settings } = agentCommand(parseAgentFlags(args).flags, {});
      return await publishOptions(options, await publishedBy(settings), paths.options);
    };
    const agent = await start(`-subnet-file=${env}`);
    assertEquals(await written([]), 'DOCKER_OPTS=" --mtu=1450"\n');
    agent[Symbol.dispose]();
    assertEquals(await written([]), 'DOCKER_OPTS=" --mtu=1450"\n');
    assertEquals(await written(["-f", other]), 'DOCKER_OPTS=" --mtu=1472"\n');
    using _other = await start(`-subnet-file=${other}`);
    const ofFirst = { FLANNELD_SUBNET_FILE: env };
    assertEquals(await written([], ofFirst), 'DOCKER_OPTS=" --mtu=1450"\n');
  }));

Deno.test("dockerOpts() names a file it cannot read or write", () =>
  inDirectory(async (directory) => {
    const unreadable = await assertRejects(
      () => dockerOpts(["-f", directory, "-d", `${directory}/out`], {}),
      ExportError,
    );
    assertEquals(unreadable.message, `cannot read ${directory}: Is a directory (os error 21)`);
    await Deno.writeTextFile(`${directory}/file`, "");
    const unwritable = await assertRejects(
      () => dockerOpts(["-f", "/none", "-d", `${directory}/file/out`], {}),
      ExportError,
    );
    assertStringIncludes(unwritable.message, `cannot write ${directory}/file/out: `);
  }));

Deno.test("dockerOpts() takes letters and values together, as the script does, and Go's forms", () =>
  inDirectory(async (directory) => {
    const [env, out] = [`${directory}/subnet.env`, `${directory}/out`];
    await Deno.writeTextFile(env, "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n");
    const expected = 'KEY=" --mtu=1450"\n';
    for (
      const args of [
        ["-f", env, "-d", out, "-c", "-m", "-k", "KEY"],
        [`-f${env}`, `-d${out}`, "-cm", "-kKEY"],
        ["-cmf", env, `-d${out}`, "-kKEY"],
        [`-cmf${env}`, "-d", out, "-k", "KEY"],
        [`--f=${env}`, `-d=${out}`, "--c", "-m=true", "-cmk=KEY"],
      ]
    ) {
      await Deno.writeTextFile(out, UNTOUCHED);
      assertEquals(await dockerOpts(args, {}), 0, args.join(" "));
      assertEquals(await Deno.readTextFile(out), expected, args.join(" "));
    }
    // A value is a value, whatever it looks like.
    const dashed = await assertRejects(() => dockerOpts(["-k", "-cm"], {}), UsageError);
    assertEquals(dashed.message, "Invalid variable name after -k: -cm");
  }));
