import { assertEquals } from "@std/assert";
import { Errno, SysError } from "./ffi/errno.ts";
import { isRefusal } from "./refusal.ts";

Deno.test("isRefusal() finds EPERM and EACCES, also behind other errors", () => {
  const { EPERM, EACCES, ENOENT } = Errno;
  for (const errno of [EPERM, EACCES]) assertEquals(isRefusal(new SysError("open", errno)), true);
  assertEquals(isRefusal(new SysError("open", ENOENT)), false);
  const cause = new Deno.errors.PermissionDenied("no");
  assertEquals(isRefusal(new Error("cannot write", { cause })), true);
  assertEquals(isRefusal(new Error("Operation not permitted (os error 1)")), true);
  assertEquals(isRefusal(new Error("No space left on device (os error 28)")), false);
  assertEquals(isRefusal("EPERM"), false);
});
