import { assertEquals } from "@std/assert";
import { mirrorOf } from "./kernel.ts";

Deno.test("mirrorOf() is Debian's main archive as apt has it", () => {
  const targets =
    "older older file:/srv/older/\nDebian Debian-Security http://a.example/security/\n" +
    "Debian Debian http://a.example/debian/\nDebian Debian http://b.example/debian/\n";
  assertEquals(mirrorOf(targets), "http://a.example/debian");
});

Deno.test("mirrorOf() falls back to Debian's own", () => {
  for (
    const targets of ["", "  http://a.example/debian/\n", "Debian Debian-Security http://a/s/\n"]
  ) {
    assertEquals(mirrorOf(targets), "http://deb.debian.org/debian");
  }
});
