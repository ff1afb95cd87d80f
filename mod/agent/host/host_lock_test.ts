import { assertEquals, assertRejects } from "@std/assert";
import { ExportError } from "../../export/mod.ts";
import { libc } from "../../sys/mod.ts";
import { AlreadyRunningError, hostLockPath, lockHost } from "./host_lock.ts";

libc();

async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await body(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("lockHost() makes the directory, and a lock that no other user can open", () =>
  withDirectory(async (directory) => {
    const file = `${directory}/flannel/subnet.env`;
    using lock = await lockHost(file);
    assertEquals(lock.path, hostLockPath(file));
    assertEquals((await Deno.stat(lock.path)).mode! & 0o777, 0o600);
  }));

Deno.test("lockHost() refuses a second one, naming its process and what would be right", () =>
  withDirectory(async (directory) => {
    const file = `${directory}/subnet.env`;
    using _lock = await lockHost(file);
    const error = await assertRejects(() => lockHost(file), AlreadyRunningError);
    const command = (await Deno.readTextFile("/proc/self/comm")).trim();
    assertEquals(error.holder, { pid: Deno.pid, command });
    assertEquals(
      error.message,
      `${command} (pid ${Deno.pid}) holds the lock of subnet file ${file}: stop it first`,
    );
  }));

Deno.test("lockHost() names the process that holds the lock, not the one in the file", () =>
  withDirectory(async (directory) => {
    const file = `${directory}/subnet.env`;
    await Deno.writeTextFile(hostLockPath(file), "999999\n");
    const holder = new Deno.Command("flock", {
      args: ["--no-fork", hostLockPath(file), "sh", "-c", "echo held; exec sleep 60"],
      stdout: "piped",
    }).spawn();
    const output = holder.stdout.getReader();
    try {
      await output.read();
      const error = await assertRejects(() => lockHost(file), AlreadyRunningError);
      assertEquals(error.holder?.pid, holder.pid);
    } finally {
      holder.kill("SIGKILL");
      await holder.status;
      await output.cancel();
    }
  }));

Deno.test("lockHost() lets agents of two subnet files run, and one after another", () =>
  withDirectory(async (directory) => {
    {
      using _one = await lockHost(`${directory}/one.env`);
      using _two = await lockHost(`${directory}/two.env`);
    }
    using _next = await lockHost(`${directory}/one.env`);
  }));

Deno.test("lockHost() names the subnet file whose directory cannot be made", () =>
  withDirectory(async (directory) => {
    await Deno.writeTextFile(`${directory}/file`, "");
    await assertRejects(
      () => lockHost(`${directory}/file/x/subnet.env`),
      ExportError,
      `cannot create the directory of ${directory}/file/x/subnet.env (see -subnet-file, -subnet-dir): Not a directory`,
    );
  }));

Deno.test("lockHost() names the flag of a file that cannot be locked, and the kernel's reason", async () => {
  const error = await assertRejects(() => lockHost("/proc/x.env"), ExportError);
  assertEquals(
    error.message,
    "cannot lock the subnet file /proc/x.env (see -subnet-file, -subnet-dir): " +
      "open /proc/x.env.lock: ENOENT: no such file or directory",
  );
});
