import { assertEquals } from "@std/assert";

const MODULE = JSON.stringify(new URL("shutdown.ts", import.meta.url).href);

/** Runs a program, sends it signals once it is ready, and returns how it ended. */
async function signalled(
  program: string,
  steps: readonly { readonly after: string; readonly send: Deno.Signal }[],
): Promise<{ stdout: string; code: number; signal: Deno.Signal | null }> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", `import { Shutdown } from ${MODULE};\n${program}`],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const waiting = [...steps];
  let stdout = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    stdout += text;
    while (waiting.length > 0 && stdout.includes(waiting[0]!.after)) {
      child.kill(waiting.shift()!.send);
    }
  }
  const { code, signal } = await child.status;
  return { stdout, code, signal };
}

const ORDERLY = `
  using shutdown = new Shutdown();
  const aborted = new Promise((done) => shutdown.signal.addEventListener("abort", done));
  console.log("ready");
  await aborted;
  console.log("aborted");`;

for (const name of ["SIGINT", "SIGTERM"] as const) {
  Deno.test(`Shutdown aborts at the first ${name}`, async () => {
    assertEquals(await signalled(ORDERLY, [{ after: "ready", send: name }]), {
      stdout: "ready\naborted\n",
      code: 0,
      signal: null,
    });
  });

  Deno.test(`Shutdown lets a second ${name} end even a program that is busy`, async () => {
    const busy = `${ORDERLY}
      const start = performance.now();
      while (performance.now() - start < 20_000);
      console.log("survived");`;
    const { stdout, signal } = await signalled(busy, [
      { after: "ready", send: "SIGTERM" },
      { after: "aborted", send: name },
    ]);
    assertEquals([stdout, signal], ["ready\naborted\n", name]);
  });
}

Deno.test("Shutdown leaves SIGHUP its default action", async () => {
  const { stdout, signal } = await signalled(ORDERLY, [{ after: "ready", send: "SIGHUP" }]);
  assertEquals([stdout, signal], ["ready\n", "SIGHUP"]);
});

Deno.test("Shutdown gives the signals back when it is disposed of", async () => {
  const program = `
    { using shutdown = new Shutdown(); }
    console.log("ready");
    await new Promise((done) => setTimeout(done, 20_000));`;
  const { signal } = await signalled(program, [{ after: "ready", send: "SIGTERM" }]);
  assertEquals(signal, "SIGTERM");
});
