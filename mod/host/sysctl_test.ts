import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { readSysctl, SysctlError, writeSysctl } from "./sysctl.ts";

function withRoot(test: (root: string) => void): void {
  const root = Deno.makeTempDirSync();
  try {
    test(root);
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
}

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

Deno.test("writeSysctl() sets a parameter, and says whether it had to", () => {
  withRoot((root) => {
    Deno.writeTextFileSync(`${root}/accept_ra`, "1\n");
    assertEquals(writeSysctl("accept_ra", 0, { root }), true);
    assertEquals(Deno.readTextFileSync(`${root}/accept_ra`), "0");
    assertEquals(writeSysctl("accept_ra", 0, { root }), false);
  });
});

Deno.test("writeSysctl() makes no file for a parameter this kernel lacks", () => {
  withRoot((root) => {
    const error = assertThrows(() => writeSysctl("nope", 1, { root }), SysctlError);
    assertStringIncludes(error.message, "cannot set sysctl nope to 1: ");
    assertEquals([...Deno.readDirSync(root)], []);
  });
});
