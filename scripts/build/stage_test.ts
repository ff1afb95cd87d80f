import { assert, assertEquals, assertRejects } from "@std/assert";
import { listSources, projectRoot } from "../checks/module_graph.ts";
import { stage } from "./stage.ts";

/** Stages `entry` of a project of these files, or of this project. */
async function withStage(
  files: Record<string, string> | undefined,
  entry: string,
  test: (staged: Awaited<ReturnType<typeof stage>>, dir: string) => Promise<void> | void,
): Promise<void> {
  const temp = await Deno.makeTempDir();
  try {
    const root = files === undefined ? projectRoot() : `${temp}/project`;
    for (const [path, text] of Object.entries(files ?? {})) {
      await Deno.mkdir(`${root}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
      await Deno.writeTextFile(`${root}/${path}`, text);
    }
    await Deno.mkdir(`${temp}/stage`);
    await test(await stage(root, entry, `${temp}/stage`), `${temp}/stage`);
  } finally {
    await Deno.remove(temp, { recursive: true });
  }
}

const EMPTY = { "deno.json": "{}", "deno.lock": '{"version": "5"}' };

Deno.test("stage() takes the modules that run, and no types, tests or strangers", async () => {
  await withStage(
    {
      ...EMPTY,
      "main.ts": `
        import "./mod/a.ts";
        import type { T } from "./mod/types.ts";
        export const load = (x: T) => [x, import("./mod/late.ts")];`,
      "mod/a.ts": "",
      "mod/a_test.ts": 'import "./a.ts";',
      "mod/late.ts": "",
      "mod/stranger.ts": "",
      "mod/types.ts": "export type T = number;",
    },
    "main.ts",
    async (staged, dir) => {
      const files = ["main.ts", "mod/a.ts", "mod/late.ts"];
      assertEquals(staged.files, files);
      assertEquals(await listSources(dir, ["."]), files.map((file) => `./${file}`));
      assertEquals(staged.includes, []);
    },
  );
});

Deno.test("stage() takes workers with all they import, and assets", async () => {
  await withStage(
    {
      ...EMPTY,
      "main.ts": 'import "./backends/udp.ts";',
      "backends/udp.ts": `
        new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
        Deno.readFileSync(new URL("../assets/x.bin", import.meta.url));`,
      "backends/worker.ts": 'import "./pump.ts";',
      "backends/pump.ts": 'new Worker(new URL("./worker.ts", import.meta.url));',
      "assets/x.bin": "x",
    },
    "main.ts",
    (staged) => {
      assertEquals(staged.files, [
        "assets/x.bin",
        "backends/pump.ts",
        "backends/udp.ts",
        "backends/worker.ts",
        "main.ts",
      ]);
      assertEquals(staged.includes, ["assets/x.bin", "backends/worker.ts"]);
    },
  );
});

Deno.test("stage() refuses a program that loads a test file", async () => {
  await assertRejects(
    () =>
      withStage(
        { ...EMPTY, "main.ts": 'import "./store_cases.ts";', "store_cases.ts": "" },
        "main.ts",
        () => {},
      ),
    Error,
    "main.ts reaches store_cases.ts, which only tests may load",
  );
});

Deno.test("stage() takes the packages that the program imports, bundled, and no others", async () => {
  await withStage(undefined, "mod/config/mod.ts", async (staged, dir) => {
    assertEquals(staged.packages.map(({ name }) => name), [
      "ip-address",
      "ip-cidr",
      "jsbn",
      "sprintf-js",
    ]);
    assert(staged.files.includes("npm/ip-cidr.js"));
    const { imports } = JSON.parse(await Deno.readTextFile(`${dir}/deno.json`));
    assertEquals(imports, { "ip-cidr": "./npm/ip-cidr.js" });
  });
});
