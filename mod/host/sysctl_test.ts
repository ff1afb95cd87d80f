import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { readSysctl, SysctlError } from "./sysctl.ts";

Deno.test("readSysctl() reads the kernel's parameters without the line feed", () => {
  assertEquals(readSysctl("kernel/ostype"), "Linux");
});

Deno.test("readSysctl() gives undefined for a parameter this kernel lacks", () => {
  assertEquals(readSysctl("net/ipv6/conf/no.such/accept_ra"), undefined);
});

Deno.test("readSysctl() names the parameter that it cannot read", () => {
  const error = assertThrows(() => readSysctl("net/ipv4"), SysctlError);
  assertEquals(error.parameter, "net/ipv4");
  assertStringIncludes(error.message, "cannot read sysctl net/ipv4: ");
});
