/**
 * Runs the unit tests, all or those below some paths, many files in each isolate.
 *
 * Usage: `deno run -A scripts/checks/unit_tests.ts [PATH...]`
 *
 * `deno test` starts an isolate for each file, and each isolate loads its modules again. That took
 * half of the processor time. Here an isolate loads one module that imports neighboring test files,
 * so the files share global state, and a test restores what it changes.
 * `deno test -A --no-check FILE` runs one file alone.
 *
 * @module
 */
import { fileUrl, listSources, projectRoot } from "./module_graph.ts";

const ROOTS = ["mod", "backends", "scripts", "tests/lab", "tests/model", "tests/vm"];

/** More isolates cost more time to start; fewer leave a processor idle at the end of the run. */
const GROUPS = 12;

/** Isolates at a time, whatever the number of processors: many tests wait. */
const JOBS = 8;

if (import.meta.main) {
  const root = projectRoot();
  const sources = await listSources(root, Deno.args.length > 0 ? Deno.args : ROOTS);
  // The last folder, tests/model, takes longest and starts first.
  const files = sources.filter((path) => path.endsWith("_test.ts")).reverse();
  const size = Math.ceil(files.length / GROUPS);
  const dir = await Deno.makeTempDir();
  try {
    for (let start = 0; start < files.length; start += size) {
      const imports = files.slice(start, start + size).map((path) =>
        `import ${JSON.stringify(fileUrl(`${root}/${path}`))};\n`
      );
      const group = `${start / size}`.padStart(2, "0");
      await Deno.writeTextFile(`${dir}/group_${group}_test.ts`, imports.join(""));
    }
    const { code } = await new Deno.Command(Deno.execPath(), {
      args: ["test", "-A", "--no-check", "--parallel", "--config", `${root}/deno.json`, dir],
      env: { DENO_JOBS: `${JOBS}` },
    }).spawn().status;
    Deno.exitCode = code;
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}
