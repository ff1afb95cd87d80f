import { assert, assertEquals } from "@std/assert";

/** Runs statements in a process of their own, with everything that output.ts exports. */
async function run(
  statements: string,
): Promise<{ readonly stdout: string; readonly stderr: string }> {
  const module = new URL("./output.ts", import.meta.url).href;
  const code = `import * as output from ${JSON.stringify(module)};\n${statements}`;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--quiet", code],
  }).output();
  const decoder = new TextDecoder();
  return { stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

Deno.test("print(), printNote() and printError() write lines that no terminal obeys", async () => {
  const { stdout, stderr } = await run(`
    output.print("a\\x1b[2J\\x9b0m\\nb");
    output.print(["one", "two\\u202e"]);
    output.printNote("c\\x07");
    output.printError(["d\\x07", "hint"]);
    output.printQuestion("Write it to \\x1b]0;title\\x07?");
  `);
  assertEquals(stdout, "a\\x1b[2J\\x9b0m\\nb\none\ntwo\\u202e\n");
  assertEquals(stderr, "c\\x07\nflanneld: d\\x07\nhint\nWrite it to \\x1b]0;title\\x07?");
});

Deno.test("printJson() and printJsonText() write valid JSON without control characters", async () => {
  const { stdout } = await run(`output.printJson({ type: "\\x1b\\x9b\\u202e" });`);
  assertEquals(stdout, '{\n  "type": "\\u001b\\u009b\\u202e"\n}\n');
  assertEquals(JSON.parse(stdout), { type: "\x1b\x9b\u202e" });
  const text = await run(`output.printJsonText('{"a":\\t"\\x9b"}\\n');`);
  assertEquals(text.stdout, '{"a":\t"\\u009b"}\n');
});

Deno.test("printScreen() writes its own sequences and nobody else's", async () => {
  const { stdout } = await run(`output.printScreen(["one", "t\\x1b[2Jwo"]);`);
  assertEquals(stdout, "\x1b[Hone\x1b[K\nt\\x1b[2Jwo\x1b[K\n\x1b[J");
});

/** Runs statements as {@linkcode run}, on a terminal of their own (script(1) of util-linux). */
async function runOnTerminal(statements: string, env: Record<string, string>): Promise<string> {
  const module = new URL("./output.ts", import.meta.url).href;
  const code = `import * as output from ${JSON.stringify(module)};\n${statements}`;
  const { stdout } = await new Deno.Command("script", {
    args: ["-qec", `"$DENO" eval --quiet "$CODE"`, "/dev/null"],
    env: { DENO: Deno.execPath(), CODE: code, NO_COLOR: "", ...env },
    stdin: "null",
  }).output();
  return new TextDecoder().decode(stdout).replaceAll("\r\n", "\n");
}

Deno.test("print() and printError() color lines on a terminal, unless NO_COLOR is set", async () => {
  const statements = `
    output.print(["+ a\\x1b[2J", "b"], (line) => line[0] === "+" ? { color: "green" } : undefined);
    output.printError("no route");`;
  assertEquals(
    await runOnTerminal(statements, {}),
    "\x1b[32m+ a\\x1b[2J\x1b[0m\nb\n\x1b[31mflanneld:\x1b[0m no route\n",
  );
  const plain = "+ a\\x1b[2J\nb\nflanneld: no route\n";
  assertEquals(await runOnTerminal(statements, { NO_COLOR: "1" }), plain);
  const { stdout, stderr } = await run(statements);
  assertEquals(stdout + stderr, plain);
});

Deno.test("print() is content when nobody reads any more", async () => {
  const module = new URL("./output.ts", import.meta.url).href;
  const code = `import { print } from ${JSON.stringify(module)};
    for (let i = 0; i < 20000; i++) print("line"); // more than the 64 KiB that a pipe holds`;
  const { success, stderr } = await new Deno.Command("sh", {
    args: ["-c", `"$0" eval --quiet "$1" | head -n 1`, Deno.execPath(), code],
  }).output();
  assert(success);
  assertEquals(new TextDecoder().decode(stderr), "");
});

Deno.test("print() is the only way to the terminal: nobody beside output.ts writes there", async () => {
  const root = new URL("../../", import.meta.url).pathname;
  const files = [`${root}main.ts`];
  for (const directory of ["mod", "backends"]) {
    const walk = async (path: string): Promise<void> => {
      for await (const { name, isDirectory } of Deno.readDir(path)) {
        if (isDirectory) await walk(`${path}/${name}`);
        else if (/(?<!_test|_lab)\.ts$/.test(name)) files.push(`${path}/${name}`);
      }
    };
    await walk(root + directory);
  }
  assert(files.length > 300);
  const writers: string[] = [];
  for (const file of files) {
    const code = (await Deno.readTextFile(file)).replaceAll(/^\s*(\*|\/\/).*$/gm, "");
    if (/\bconsole\.|Deno\.std(out|err)\b(?!\.isTerminal)/.test(code)) {
      writers.push(file.slice(root.length));
    }
  }
  // The plugin's standard output is JSON for a container runtime.
  const expected = [
    "mod/cli/output.ts",
    "mod/cni/netavark/plugin.ts",
    "mod/cni/plugin.ts",
    "mod/observe/log/log.ts",
  ];
  assertEquals(writers.sort(), expected);
});
