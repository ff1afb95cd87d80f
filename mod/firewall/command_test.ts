import { assert, assertEquals, assertRejects } from "@std/assert";
import { FakeTime } from "../agent/testing/time_lab.ts";
import { HostCommands } from "./command.ts";
import { FirewallError } from "./errors.ts";

const host = new HostCommands({});

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function path(name: string): string {
  const found = host.find(name);
  if (found === undefined) throw new Error(`${name} is not installed`);
  return found;
}

Deno.test("HostCommands.find() takes the first directory that has an executable", async () => {
  const empty = await Deno.makeTempDir();
  const full = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${empty}/tool`, "", { mode: 0o644 });
    await Deno.mkdir(`${empty}/folder`);
    await Deno.writeTextFile(`${full}/tool`, "", { mode: 0o755 });
    const commands = new HostCommands({ searchPath: ["/nonexistent", empty, full] });
    assertEquals(commands.find("tool"), `${full}/tool`);
    assertEquals(commands.find("folder"), undefined);
    assertEquals(commands.find("other"), undefined);
  } finally {
    await Deno.remove(empty, { recursive: true });
    await Deno.remove(full, { recursive: true });
  }
});

Deno.test("HostCommands searches the system directories, whatever PATH contains", () => {
  for (const directory of ["/usr/local/sbin", "/usr/sbin", "/sbin"]) {
    assert(host.searchPath.includes(directory));
  }
});

Deno.test("HostCommands.run() passes arguments and input on untouched", async () => {
  const words = ["two words", '"quoted"', "$HOME", "; false"];
  assertEquals(await host.run(path("printf"), ["%s\n", ...words]), words.join("\n") + "\n");
  // More than a pipe holds, so that reading and writing have to go on at the same time.
  const text = "0123456789abcde\n".repeat(20_000);
  assertEquals(await host.run(path("cat"), [], text), text);
});

Deno.test("HostCommands.run() puts the prefix before the command", async () => {
  const commands = new HostCommands({ commandPrefix: [path("env"), "ANSWER=42"] });
  assertEquals((await commands.run(path("printenv"), ["ANSWER"])).trim(), "42");
});

Deno.test("HostCommands.run() reports status and standard error in one line", async () => {
  const sh = path("sh");
  const error = await assertRejects(
    () => host.run(sh, ["-c", "echo one >&2; echo; echo ' two' >&2; exit 3"]),
    FirewallError,
  );
  assertEquals(error.message, "sh failed with status 3: one; two");
  assertEquals(error.status, 3);
});

Deno.test("HostCommands.run() names the module that is not loaded", async () => {
  const sh = path("sh");
  const cases = [
    // iptables-nft 1.8.11, nft 1.1.3, iptables-legacy-restore 1.8.11, iptables-legacy 1.8.11.
    ["iptables: Failed to initialize nft: Protocol not supported", "nf_tables"],
    ["mnl.c:64: Unable to initialize Netlink socket: Protocol not supported", "nf_tables"],
    ["netlink: Error: cache initialization failed: Invalid argument", "nf_tables"],
    ["iptables-restore: unable to initialize table 'nat'", "ip_tables"],
    ["Table does not exist (do you need to insmod?)", "ip_tables"],
  ];
  for (const [text, module] of cases) {
    const run = host.run(sh, ["-c", `echo "${text}" >&2; exit 1`]);
    const { message } = await assertRejects(() => run, FirewallError);
    const advice = ` (the module ${module} is not loaded: modprobe ${module})`;
    assertEquals(message, `sh failed with status 1: ${text}${advice}`);
  }
});

Deno.test("HostCommands.run() survives a command that does not read its input", async () => {
  const error = await assertRejects(
    async () => await host.run(path("false"), [], "x".repeat(1 << 20)),
    FirewallError,
  );
  assertEquals(error.message, "false failed with status 1: it gave no reason");
});

Deno.test("HostCommands.run() names a program that cannot be started", async () => {
  const error = await assertRejects(() => host.run("/nonexistent/iptables", []), FirewallError);
  assert(error.message.startsWith("iptables could not be started: "), error.message);
  assert(error.cause instanceof Error);
});

Deno.test("HostCommands.run() ends a command that takes too long", async () => {
  const commands = new HostCommands({ timeLimit: 100 });
  const started = performance.now();
  const error = await assertRejects(
    async () => await commands.run(path("sleep"), ["30"]),
    FirewallError,
  );
  assertEquals(error.message, "sleep had not ended after 0.1 seconds");
  assert(performance.now() - started < 10_000);
});

Deno.test("HostCommands.run() does not wait for what a command has started that takes too long", async () => {
  const file = await Deno.makeTempFile();
  using time = new FakeTime({ by: /child_limit\.ts/ });
  const commands = new HostCommands({ timeLimit: 300 });
  // As a script in the place of iptables does, whose own child waits for a lock.
  const script = `sleep 600 & echo $! > ${file}; wait`;
  try {
    const running = commands.run(path("sh"), ["-c", script], "input");
    const ended = assertRejects(() => running, FirewallError);
    while (await Deno.readTextFile(file) === "") await pause(10);
    time.tick(300);
    assertEquals((await ended).message, "sh had not ended after 0.3 seconds");
  } finally {
    Deno.kill(Number(await Deno.readTextFile(file)), "SIGKILL");
    await Deno.remove(file);
    // Its pipes are closed with it.
    await pause(100);
  }
});

Deno.test("HostCommands.run() ends the command when the signal aborts", async () => {
  const controller = new AbortController();
  const commands = new HostCommands({ signal: controller.signal });
  const started = performance.now();
  const running = commands.run(path("sleep"), ["30"]);
  setTimeout(() => controller.abort(new DOMException("stop", "AbortError")), 50);
  await assertRejects(() => running, DOMException, "stop");
  assert(performance.now() - started < 10_000);
  await assertRejects(async () => await commands.run(path("true"), []), DOMException, "stop");
});
