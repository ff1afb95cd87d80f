import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { projectRoot } from "../../scripts/checks/module_graph.ts";
import { run } from "../lab/command.ts";
import { debianMirror } from "./kernel.ts";

const ARCHITECTURE = (await run(["dpkg", "--print-architecture"])).trim();
const SETUP = await Deno.readTextFile(`${projectRoot()}/scripts/setup.sh`);

/** Runs `debian_mirror` of setup.sh. */
async function mirrorOfSetup(env: Record<string, string>) {
  const [body] = /^debian_mirror\(\) \{.*?^\}$/ms.exec(SETUP)!;
  const { code, stdout, stderr } = await new Deno.Command("bash", {
    args: ["-c", `set -euo pipefail\n${body}\ndebian_mirror`],
    env,
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** Runs a test with an apt that has the lists of these sources alone. */
async function withSources(
  sources: Readonly<Record<string, string>>,
  test: (env: Record<string, string>) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${dir}/lists/partial`, { recursive: true });
    const lines = Object.entries(sources).map(([label, host]) => {
      const prefix = `${dir}/lists/${host}_debian_dists_stable_`;
      Deno.writeTextFileSync(
        `${prefix}Release`,
        `Origin: ${label}\nLabel: ${label}\nSuite: stable\nComponents: main\n` +
          `Date: Sat, 15 Nov 2025 09:47:14 UTC\nArchitectures: ${ARCHITECTURE}\n` +
          `SHA256:\n ${"0".repeat(64)} 1 main/binary-${ARCHITECTURE}/Packages\n`,
      );
      Deno.writeTextFileSync(`${prefix}main_binary-${ARCHITECTURE}_Packages`, "");
      return `deb [trusted=yes] http://${host}/debian stable main\n`;
    });
    await Deno.writeTextFile(`${dir}/sources.list`, lines.join(""));
    await Deno.writeTextFile(
      `${dir}/apt.conf`,
      `Dir::Etc::sourcelist "${dir}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n` +
        `Dir::State::lists "${dir}/lists";\n`,
    );
    await test({ APT_CONFIG: `${dir}/apt.conf` });
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("debianMirror() is the mirror that apt takes Debian from, as in setup.sh", async () => {
  await withSources({ Other: "other.example", Debian: "mirror.example" }, async (env) => {
    assertEquals(await debianMirror(env), "http://mirror.example/debian");
    assertEquals(await mirrorOfSetup(env), {
      code: 0,
      stdout: "http://mirror.example/debian\n",
      stderr: "",
    });
  });
});

Deno.test("debianMirror() refuses an apt without a mirror of Debian, as setup.sh does", async () => {
  const advice = "apt names no mirror of Debian: add one to /etc/apt/sources.list";
  await withSources({ Other: "other.example" }, async (env) => {
    await assertRejects(() => debianMirror(env), Error, advice);
    const { code, stdout, stderr } = await mirrorOfSetup(env);
    assertEquals([code, stdout], [1, ""]);
    assertStringIncludes(stderr, `setup.sh: ${advice}`);
  });
});
