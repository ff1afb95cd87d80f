/**
 * Runs `deno task ok`: all checks at the same time. It shows the unit tests' output as it comes and that of the
 * other checks after it. As `dependencies` of a task, the first check that fails would end the others.
 *
 * @module
 */

const CHECKS = ["check", "fmt", "lint", "circular", "docs"];

/** Starts `deno task NAME`. */
function start(name: string, output: "inherit" | "piped"): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["task", name],
    stdin: "null",
    stdout: output,
    stderr: output,
  }).spawn();
}

if (import.meta.main) {
  const tests = start("test", "inherit");
  const checks = CHECKS.map((name) => ({ name, ended: start(name, "piped").output() }));
  const failed = (await tests.status).success ? [] : ["test"];
  for (const { name, ended } of checks) {
    const { success, stdout, stderr } = await ended;
    for (const bytes of [stderr, stdout]) {
      // Deno.stdout.writeSync() may write a part.
      if (bytes.length > 0) console.log(new TextDecoder().decode(bytes).trimEnd());
    }
    if (!success) failed.push(name);
  }
  if (failed.length > 0) console.error(`failed: ${failed.join(", ")}`);
  Deno.exitCode = failed.length > 0 ? 1 : 0;
}
