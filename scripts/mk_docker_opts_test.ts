import { assertEquals, assertStringIncludes } from "@std/assert";
import {
  DOCKER_OPTIONS_CASES,
  type DockerOptionsCase,
} from "../mod/export/testing/docker_opts_cases.ts";

const SCRIPT = new URL("mk-docker-opts.sh", import.meta.url).pathname;
const SHELLS = [["dash"], ["bash"], ["bash", "--posix"], ["busybox", "sh"]];
const UNTOUCHED = "as it was\n";

interface Outcome {
  readonly code: number;
  readonly stderr: string;
  readonly output: string;
}

/** Runs the script in a directory of its own, with nothing but PATH and `environment` set. */
async function run(
  shell: readonly string[],
  args: readonly string[],
  options: {
    readonly file?: string | undefined;
    readonly environment?: Readonly<Record<string, string>> | undefined;
    readonly paths?: { readonly file: string; readonly output: string };
  },
): Promise<Outcome> {
  const cwd = await Deno.makeTempDir({ prefix: "mk-docker-opts" });
  try {
    const { file, output } = options.paths ?? { file: `${cwd}/subnet.env`, output: `${cwd}/out` };
    const at = (path: string) => path.startsWith("/") ? path : `${cwd}/${path}`;
    if (options.file !== undefined) await Deno.writeTextFile(at(file), options.file);
    if (options.paths === undefined) await Deno.writeTextFile(at(output), UNTOUCHED);
    const { code, stderr, stdout } = await new Deno.Command(shell[0]!, {
      args: [...shell.slice(1), SCRIPT, "-f", file, "-d", output, ...args],
      cwd,
      clearEnv: true,
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", ...options.environment },
    }).output();
    assertEquals(new TextDecoder().decode(stdout), "");
    const left = Array.from(Deno.readDirSync(cwd), ({ name }) => name).filter((name) =>
      name.startsWith(".")
    );
    assertEquals(left, [], "temporary files");
    return {
      code,
      stderr: new TextDecoder().decode(stderr),
      output: await Deno.readTextFile(at(output)),
    };
  } finally {
    await Deno.remove(cwd, { recursive: true });
  }
}

async function check(shell: readonly string[], wanted: DockerOptionsCase): Promise<void> {
  const { code, stderr, output } = await run(shell, wanted.args, wanted);
  if (wanted.output === undefined) {
    assertEquals(code, 1);
    assertEquals(stderr.slice(0, wanted.error!.length), wanted.error);
    assertEquals(output, UNTOUCHED);
  } else {
    assertEquals(stderr, "");
    assertEquals(code, 0);
    assertEquals(output, wanted.output.map((line) => line + "\n").join(""));
  }
}

for (const shell of SHELLS) {
  Deno.test(`mk-docker-opts.sh writes flannel's outputs under ${shell.join(" ")}`, async (t) => {
    for (const wanted of DOCKER_OPTIONS_CASES) {
      await t.step(wanted.name, () => check(shell, wanted));
    }
  });

  Deno.test(`mk-docker-opts.sh takes any file name under ${shell.join(" ")}`, async () => {
    const file = "FLANNEL_MTU=1450\n";
    for (
      const paths of [
        { file: "subnet.env", output: "out" },
        { file: "./a b.env", output: "new dir/deeper/a b" },
        { file: "-e.env", output: "-n" },
      ]
    ) {
      const { code, stderr, output } = await run(shell, ["-c"], { file, paths });
      assertEquals([code, stderr, output], [0, "", 'DOCKER_OPTS=" --mtu=1450"\n']);
    }
  });

  Deno.test(`mk-docker-opts.sh explains itself and exits 1 under ${shell.join(" ")}`, async () => {
    for (const args of [["-h"], ["-?"], ["-x"], ["-k"], ["word"]]) {
      const { code, stderr, output } = await run(shell, args, {});
      assertStringIncludes(stderr, "-k KEY   name of that variable (default DOCKER_OPTS)");
      assertStringIncludes(stderr, "FLANNEL_SUBNET becomes --bip, FLANNEL_MTU --mtu, and");
      assertEquals([code, output], [1, UNTOUCHED], args.join(" "));
    }
  });

  Deno.test(`mk-docker-opts.sh replaces a file in one step under ${shell.join(" ")}`, async () => {
    const cwd = await Deno.makeTempDir({ prefix: "mk-docker-opts" });
    try {
      await Deno.writeTextFile(`${cwd}/out`, UNTOUCHED, { mode: 0o600 });
      using before = await Deno.open(`${cwd}/out`);
      const umask = 'umask 077; exec "$@"';
      const { code } = await new Deno.Command("sh", {
        args: ["-c", umask, "sh", ...shell, SCRIPT, "-f", "none", "-d", `${cwd}/out`],
      }).output();
      assertEquals(code, 0);
      assertEquals(await new Response(before.readable).text(), UNTOUCHED, "an open file changed");
      assertEquals((await Deno.stat(`${cwd}/out`)).mode! & 0o777, 0o644);
      assertEquals(await Deno.readTextFile(`${cwd}/out`), 'DOCKER_OPTS=""\n');
    } finally {
      await Deno.remove(cwd, { recursive: true });
    }
  });

  Deno.test(`mk-docker-opts.sh writes in place what is no file under ${shell.join(" ")}`, async () => {
    const cwd = await Deno.makeTempDir({ prefix: "mk-docker-opts" });
    try {
      const call = async (output: string) => {
        const { code, stdout } = await new Deno.Command(shell[0]!, {
          args: [...shell.slice(1), SCRIPT, "-f", "none", "-d", output],
        }).output();
        assertEquals(code, 0);
        return new TextDecoder().decode(stdout);
      };
      assertEquals(await call("/dev/stdout"), 'DOCKER_OPTS=""\n');
      assertEquals((await Deno.lstat("/dev/stdout")).isSymlink, true);

      await Deno.writeTextFile(`${cwd}/file`, UNTOUCHED);
      await Deno.symlink("file", `${cwd}/link`);
      await call(`${cwd}/link`);
      assertEquals((await Deno.lstat(`${cwd}/link`)).isSymlink, true);
      assertEquals(await Deno.readTextFile(`${cwd}/file`), 'DOCKER_OPTS=""\n');
    } finally {
      await Deno.remove(cwd, { recursive: true });
    }
  });
}
