import { assert } from "@std/assert";
import { trimMemory } from "./free_memory.ts";
import { libc } from "./libc.ts";

/** Below M_MMAP_THRESHOLD (128 KiB, mallopt(3)): freed blocks go to malloc's own lists. */
const BLOCK = 64 * 1024;
const BLOCKS = 512;

libc();
const { symbols: malloc } = Deno.dlopen("libc.so.6", {
  malloc: { parameters: ["usize"], result: "pointer" },
  memset: { parameters: ["pointer", "i32", "usize"], result: "pointer" },
  free: { parameters: ["pointer"], result: "void" },
});

Deno.test("trimMemory() returns what was freed under a block that is still in use", async () => {
  const blocks = Array.from({ length: BLOCKS }, () => malloc.malloc(BigInt(BLOCK)));
  for (const block of blocks) malloc.memset(block, 1, BigInt(BLOCK));
  const last = blocks.pop()!;
  blocks.forEach((block) => malloc.free(block));
  const before = Deno.memoryUsage().rss;
  using _trimming = trimMemory(10);
  let returned = 0;
  for (let tries = 0; tries < 200 && returned < BLOCKS / 2 * BLOCK; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    returned = before - Deno.memoryUsage().rss;
  }
  malloc.free(last);
  assert(returned >= BLOCKS / 2 * BLOCK, `${returned} bytes`);
});
