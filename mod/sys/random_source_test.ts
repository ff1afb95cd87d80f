import { libc } from "./ffi/libc.ts";
import { requireRandomSource } from "./random_source.ts";

// Outside of any test: see libc().
libc();

Deno.test("requireRandomSource() passes without the device where the kernel has getrandom(2)", () => {
  requireRandomSource("/nosuch/random");
});
