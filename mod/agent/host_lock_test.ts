import { assertEquals, assertRejects } from "@std/assert";
import { ExportError } from "../export/mod.ts";
import { libc } from "../sys/mod.ts";
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

Deno.test("lockHost() makes the directory and tells who holds the lock", () =>
  withDirectory(async (directory) => {
    const file = `${directory}/flannel/subnet.env`;
    using lock = await lockHost(file);
    assertEquals(lock.path, hostLockPath(file));
    assertEquals(await Deno.readTextFile(lock.path), `${Deno.pid}\n`);
  }));

Deno.test("lockHost() refuses a second one, naming its process and what would be right", () =>
  withDirectory(async (directory) => {
    const file = `${directory}/subnet.env`;
    using _lock = await lockHost(file);
    const error = await assertRejects(() => lockHost(file), AlreadyRunningError);
    assertEquals(error.pid, Deno.pid);
    assertEquals(
      error.message,
      `flanneld (pid ${Deno.pid}) is running with subnet file ${file}: stop it first`,
    );
    await Deno.writeTextFile(hostLockPath(file), "");
    const other = await assertRejects(() => lockHost(file), AlreadyRunningError);
    assertEquals(other.message.slice(0, 19), "flanneld is running");
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
      `cannot make the directory of ${directory}/file/x/subnet.env (see -subnet-file, -subnet-dir): Not a directory`,
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
