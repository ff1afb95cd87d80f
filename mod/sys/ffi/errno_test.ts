import { assert, assertEquals } from "@std/assert";
import { Errno, errnoCode, errnoText, SysError } from "./errno.ts";
import { constants } from "node:os";

Deno.test("errnoCode() agrees with the runtime's own table", () => {
  // Node's names are the host's errno.h; EWOULDBLOCK and ENOTSUP share a number with another name.
  const synonyms = new Set(["EWOULDBLOCK", "ENOTSUP"]);
  const known = Object.entries(constants.errno).filter(([name]) => !synonyms.has(name));
  assert(known.length > 70);
  for (const [name, number] of known) assertEquals(errnoCode(number), name);
});

Deno.test("Errno has the numbers of its names", () => {
  for (const [name, number] of Object.entries(Errno)) assertEquals(errnoCode(number), name);
});

Deno.test("errnoCode() and errnoText() make do with a number that has no name", () => {
  for (const number of [0, 41, 58, 134, 524, -1]) {
    assertEquals(errnoCode(number), `E${number}`);
    assertEquals(errnoText(number), "unknown error");
  }
  assertEquals(errnoCode(133), "EHWPOISON");
});

Deno.test("SysError is one line with call, subject, error and the kernel's words", () => {
  const error = new SysError("RTM_NEWROUTE", Errno.ENETUNREACH, {
    subject: "10.20.93.0/24",
    detail: "Nexthop has invalid gateway",
  });
  assertEquals(
    error.message,
    "RTM_NEWROUTE 10.20.93.0/24: ENETUNREACH: network is unreachable (Nexthop has invalid gateway)",
  );
  assertEquals([error.syscall, error.errno, error.code, error.detail, error.name], [
    "RTM_NEWROUTE",
    101,
    "ENETUNREACH",
    "Nexthop has invalid gateway",
    "SysError",
  ]);
  assertEquals(new SysError("bind", 98).message, "bind: EADDRINUSE: address already in use");
});

Deno.test("SysError keeps its cause", () => {
  const cause = new Error("why");
  assertEquals(new SysError("bind", 98, { cause }).cause, cause);
});
