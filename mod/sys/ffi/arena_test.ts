import { assert, assertEquals, assertThrows } from "@std/assert";
import { Arena } from "./arena.ts";
Deno.test("Arena.allocate() gives zeroed memory under its own address", () => {
  using arena = new Arena();
  for (const size of [1, 8, 63, 64, 65, 4096]) {
    const memory = arena.allocate(size);
    assertEquals(memory.bytes.length, size);
    assert(memory.bytes.every((byte) => byte === 0));
    assertEquals(memory.address % 8n, 0n);
    memory.bytes[size - 1] = 42;
    const view = new Deno.UnsafePointerView(Deno.UnsafePointer.create(memory.address)!);
    assertEquals(view.getUint8(size - 1), 42);
    assertEquals(memory.view.getUint8(size - 1), 42);
  }
  assertEquals(arena.size, 1 + 8 + 63 + 64 + 65 + 4096);
});

Deno.test("Arena keeps memory that nothing but an address refers to", () => {
  const SIZE = 64;
  const addresses = allocateAndForget(1000, SIZE);
  // Enough outside V8's heap for it to collect everything, several times.
  for (let i = 0; i < 4000; i++) new Uint8Array(new ArrayBuffer(256 * 1024))[0] = 1;
  // Allocations that would take the freed places: V8 zeroes what it hands out.
  let kept: ArrayBuffer[] = [];
  for (let i = 0; i < 200_000; i++) {
    kept.push(new ArrayBuffer(SIZE));
    if (kept.length === 20_000) kept = [];
  }
  for (const [i, address] of addresses.entries()) {
    const view = new Deno.UnsafePointerView(Deno.UnsafePointer.create(address)!);
    assertEquals([view.getUint32(0), view.getUint32(SIZE - 4)], [i + 1, i + 1]);
  }
});

/** The arena itself is forgotten too, open: that is what keeps it. */
function allocateAndForget(count: number, size: number): bigint[] {
  const arena = new Arena();
  return Array.from({ length: count }, (_, i) => {
    const { address, view } = arena.allocate(size);
    view.setUint32(0, i + 1, true);
    view.setUint32(size - 4, i + 1, true);
    return address;
  });
}

Deno.test("Arena refuses sizes that are none, and to allocate when closed", () => {
  const arena = new Arena();
  for (const size of [0, -1, 1.5, NaN]) assertThrows(() => arena.allocate(size), RangeError);
  arena.close();
  arena.close();
  assertThrows(() => arena.allocate(8), TypeError, "closed");
});
