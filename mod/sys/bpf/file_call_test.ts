import { assertEquals, assertThrows } from "@std/assert";
import { Errno, SysError } from "../ffi/errno.ts";
import { fileCall } from "./file_call.ts";

Deno.test("fileCall() makes the runtime's errors those of the call", () => {
  // A directory of sysfs is made by the kernel alone; a process has no file for a name.
  for (
    const [path, errno] of [["/sys/fs/nothing", Errno.EPERM], [
      "/proc/self/status/nothing",
      20,
    ], ["/sys/fs", Errno.EEXIST]] as const
  ) {
    const error = assertThrows(
      () => fileCall("mkdir", path, () => Deno.mkdirSync(path)),
      SysError,
      `mkdir ${path}: `,
    );
    assertEquals(error.errno, errno, path);
  }
});

Deno.test("fileCall() hands on results, and errors that are no system call's", () => {
  assertEquals(fileCall("none", "", () => 7), 7);
  assertThrows(
    () =>
      fileCall("none", "", () => {
        throw new TypeError("a defect");
      }),
    TypeError,
    "a defect",
  );
});
