import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { FileLock } from "./file_lock.ts";
import { libc } from "./ffi/libc.ts";
import { describeHolder, findLockHolder, pidOf } from "./lock_holder.ts";

libc();

Deno.test("findLockHolder() names the process that holds the lock, not one that the file names", async () => {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, "1\n");
    assertEquals(findLockHolder(path), undefined);
    const child = new Deno.Command("flock", {
      args: ["--no-fork", path, "sh", "-c", "echo held; exec sleep 60"],
      stdout: "piped",
    }).spawn();
    const output = child.stdout.getReader();
    await output.read();
    const holder = findLockHolder(path);
    assertEquals(holder?.pid, child.pid);
    assertEquals(describeHolder(holder).replace(/^(sh|sleep)/, "X"), `X (pid ${child.pid})`);
    child.kill("SIGKILL");
    await child.status;
    await output.cancel();
    using _lock = FileLock.tryAcquire(path);
    assertEquals(findLockHolder(path)?.pid, Deno.pid);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("findLockHolder() is silent about a file that is missing", () => {
  assertEquals(findLockHolder("/nonexistent/lock"), undefined);
  assertEquals(describeHolder(undefined), "another process");
});

Deno.test("pidOf() takes neither another kind of lock, nor one that waits, nor another device", () => {
  const locks = [
    "1: POSIX  ADVISORY  WRITE 1 fe:00:77 0 EOF",
    "2: FLOCK  ADVISORY  WRITE 2 fe:01:77 0 EOF",
    "3: -> FLOCK  ADVISORY  WRITE 3 fe:00:77 0 EOF",
    "4: FLOCK  ADVISORY  WRITE 4 fe:00:778 0 EOF",
    "5: FLOCK  ADVISORY  WRITE 5 fe:00:77 0 EOF",
    "",
  ];
  assertEquals(pidOf(locks.join("\n"), 77, 0xfe00), 5);
  assertEquals(pidOf(locks.slice(0, 4).join("\n"), 77, 0xfe00), undefined);
});

Deno.test("pidOf() reads any text without an error", () => {
  fc.assert(fc.property(fc.string(), fc.nat(), (text, inode) => {
    assertEquals(pidOf(`${text.replaceAll("\n", "")}\n`, inode, 0), undefined);
  }));
});
