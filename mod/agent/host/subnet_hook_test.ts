import { assert, assertEquals } from "@std/assert";
import { captureLog } from "../../observe/testing/log_lab.ts";
import { SubnetHook } from "./subnet_hook.ts";

/** A hook that writes into a directory of its own, until it is disposed of. */
async function fixture(script: string, timeLimit = 10_000) {
  const dir = await Deno.makeTempDir();
  const log = captureLog();
  const stop = new AbortController();
  const hook = new SubnetHook(["sh", "-c", script, "hook", dir], {
    signal: stop.signal,
    timeLimit,
  });
  return {
    hook,
    log: log.lines,
    stop,
    read: () => Deno.readTextFile(`${dir}/out`),
    async [Symbol.asyncDispose]() {
      stop.abort();
      await hook.idle;
      log[Symbol.dispose]();
      await Deno.remove(dir, { recursive: true });
    },
  };
}

Deno.test("SubnetHook.run() gives the command subnet.env's variables, and none of the agent's own", async () => {
  const secrets = ["FLANNELD_ETCD_PASSWORD", "NOTIFY_SOCKET", "FLANNEL_ETCD_ENDPOINTS"];
  for (const name of secrets) Deno.env.set(name, "secret");
  Deno.env.set("HOOK_TEST_INHERITED", "yes");
  try {
    await using test = await fixture('env > "$1/out"');
    test.hook.run({ FLANNEL_SUBNET: "10.30.7.1/24", FLANNEL_MTU: "1450" });
    await test.hook.idle;
    const lines = (await test.read()).split("\n");
    for (
      const line of ["FLANNEL_SUBNET=10.30.7.1/24", "FLANNEL_MTU=1450", "HOOK_TEST_INHERITED=yes"]
    ) assert(lines.includes(line), line);
    assertEquals(lines.filter((line) => line.includes("secret")), []);
    assertEquals(test.log.length, 1);
  } finally {
    for (const name of [...secrets, "HOOK_TEST_INHERITED"]) Deno.env.delete(name);
  }
});

Deno.test("SubnetHook.run() runs it again for the last change that came meanwhile", async () => {
  await using test = await fixture('echo "$N" >> "$1/out"; sleep 0.3');
  for (const N of ["1", "2", "3"]) test.hook.run({ N });
  await test.hook.idle;
  assertEquals(await test.read(), "1\n3\n");
  test.hook.run({ N: "4" });
  await test.hook.idle;
  assertEquals(await test.read(), "1\n3\n4\n");
});

Deno.test("SubnetHook logs how the command failed, and goes on", async () => {
  await using test = await fixture('[ "$N" = 1 ] && exit 3; [ "$N" = 2 ] && kill -TERM $$; true');
  for (const N of ["1", "2", "3"]) {
    test.hook.run({ N });
    await test.hook.idle;
  }
  const warnings = test.log.filter((line) => line.startsWith("W "));
  assertEquals(warnings.length, 2);
  assert(warnings[0]!.endsWith("failed: exit code 3"), warnings[0]);
  assert(warnings[1]!.endsWith("failed: ended by SIGTERM"), warnings[1]);
});

Deno.test("SubnetHook ends a command that takes too long", async () => {
  await using test = await fixture("exec sleep 60", 200);
  const started = performance.now();
  test.hook.run({});
  await test.hook.idle;
  assert(performance.now() - started < 30_000);
  assert(test.log.at(-1)!.endsWith("was ended: it took more than 0.2 s"), test.log.at(-1));
});

Deno.test("SubnetHook ends the command with the agent, in silence", async () => {
  await using test = await fixture("exec sleep 60");
  test.hook.run({});
  await new Promise((resolve) => setTimeout(resolve, 50));
  test.stop.abort();
  await test.hook.idle;
  test.hook.run({});
  await test.hook.idle;
  assertEquals(test.log.filter((line) => line.startsWith("W ")), []);
});

Deno.test("SubnetHook logs that the command does not exist", async () => {
  using log = captureLog();
  const { signal } = new AbortController();
  const hook = new SubnetHook(["/nowhere/restart-docker", "now"], { signal });
  hook.run({});
  await hook.idle;
  assertEquals(log.lines.length, 1);
  assert(
    log.lines[0]!.startsWith(
      "W -on-subnet-change command /nowhere/restart-docker now cannot be started: ",
    ),
    log.lines[0],
  );
});
