import { assert, assertEquals, assertThrows } from "@std/assert";
import { SysError } from "./ffi/errno.ts";
import { FileLock } from "./file_lock.ts";
import { libc } from "./ffi/libc.ts";

libc();

async function withDirectory(body: (directory: string) => void | Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await body(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Returns whether flock(1), another process, gets the lock. */
async function isFree(path: string): Promise<boolean> {
  const { success } = await new Deno.Command("flock", { args: ["--nonblock", path, "true"] })
    .output();
  return success;
}

Deno.test("FileLock.tryAcquire() keeps other processes out until it is disposed", () =>
  withDirectory(async (directory) => {
    const path = `${directory}/lock`;
    {
      using lock = FileLock.tryAcquire(path);
      assertEquals(lock?.path, path);
      assert(!await isFree(path));
      assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
    }
    assert(await isFree(path));
  }));

Deno.test("FileLock.tryAcquire() is refused what another holds, in this process too", () =>
  withDirectory((directory) => {
    const path = `${directory}/lock`;
    using lock = FileLock.tryAcquire(path)!;
    assertEquals(FileLock.tryAcquire(path), undefined);
    lock[Symbol.dispose]();
    lock[Symbol.dispose]();
    using again = FileLock.tryAcquire(path);
    assert(again !== undefined);
  }));

Deno.test("FileLock.tryAcquire() gets what a killed process held", () =>
  withDirectory(async (directory) => {
    const path = `${directory}/lock`;
    const holder = new Deno.Command("flock", {
      args: ["--no-fork", path, "sh", "-c", "echo held; exec sleep 60"],
      stdout: "piped",
    }).spawn();
    const output = holder.stdout.getReader();
    await output.read();
    assertEquals(FileLock.tryAcquire(path), undefined);
    holder.kill("SIGKILL");
    await holder.status;
    await output.cancel();
    using lock = FileLock.tryAcquire(path);
    assert(lock !== undefined);
  }));

Deno.test("FileLock.tryAcquire() is not inherited by a command", () =>
  withDirectory(async (directory) => {
    const path = `${directory}/lock`;
    using lock = FileLock.tryAcquire(path);
    assert(lock !== undefined);
    // The command lists its own descriptors: those of a process that is starting come and go.
    const { stdout } = await new Deno.Command("ls", { args: ["-l", "/proc/self/fd"] }).output();
    const descriptors = new TextDecoder().decode(stdout);
    assert(descriptors.includes("-> /proc/") && !descriptors.includes(path), descriptors);
  }));

Deno.test("FileLock is free once it is disposed, while another thread starts programs", () =>
  withDirectory(async (directory) => {
    const program = `postMessage(0); for (;;) await new Deno.Command("true").output();`;
    const worker = new Worker(`data:text/javascript,${encodeURIComponent(program)}`, {
      type: "module",
    });
    try {
      await new Promise((resolve) => worker.onmessage = resolve);
      const end = performance.now() + 200;
      while (performance.now() < end) {
        using lock = FileLock.tryAcquire(`${directory}/lock`);
        assert(lock !== undefined);
      }
    } finally {
      worker.terminate();
    }
  }));

Deno.test("FileLock.tryAcquire() takes the file that is there now, not the one it was", () =>
  withDirectory(async (directory) => {
    const path = `${directory}/lock`;
    using first = FileLock.tryAcquire(path);
    await Deno.remove(path);
    using second = FileLock.tryAcquire(path);
    assert(first !== undefined && second !== undefined);
    assert(!await isFree(path));
  }));

/** Returns whether another user can open a file. */
async function isOpenTo(uid: number, path: string): Promise<boolean> {
  const { success } = await new Deno.Command("cat", { args: [path], uid, gid: uid, clearEnv: true })
    .output();
  return success;
}

Deno.test("FileLock.tryAcquire() shuts a file that was readable by everyone", () =>
  withDirectory(async (directory) => {
    const path = `${directory}/lock`;
    await Deno.chmod(directory, 0o755);
    await Deno.writeTextFile(path, "");
    await Deno.chmod(path, 0o644);
    if (Deno.uid() === 0) assert(await isOpenTo(65534, path));
    using lock = FileLock.tryAcquire(path);
    assert(lock !== undefined);
    assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
    if (Deno.uid() === 0) assert(!await isOpenTo(65534, path));
    // Also where another one holds it: the next stranger is kept out.
    await Deno.chmod(path, 0o644);
    assertEquals(FileLock.tryAcquire(path), undefined);
    assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
  }));

Deno.test("FileLock.tryAcquire() follows no symbolic link and makes no directory", () =>
  withDirectory(async (directory) => {
    await Deno.symlink(`${directory}/elsewhere`, `${directory}/lock`);
    const error = assertThrows(() => FileLock.tryAcquire(`${directory}/lock`), SysError);
    assertEquals(error.code, "ELOOP");
    const missing = assertThrows(() => FileLock.tryAcquire(`${directory}/no/lock`), SysError);
    assertEquals(missing.code, "ENOENT");
  }));
