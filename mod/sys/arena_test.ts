import { assert, assertEquals, assertThrows } from "@std/assert";
import { Arena } from "./arena.ts";
import { closeDescriptor, libc, unwrap } from "./libc.ts";

libc();

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

Deno.test("Arena keeps memory that only the kernel knows where it is", () => {
  // An eventfd's count is read by address into memory that this function let go of long before; in
  // between enough garbage is made for several collections.
  const arena = new Arena();
  const addresses = Array.from({ length: 100 }, () => arena.allocate(8).address);
  let garbage = 0;
  for (let i = 0; i < 3000; i++) garbage += new Uint8Array(new ArrayBuffer(64 * 1024)).length;
  assert(garbage > 0);
  const fd = unwrap("eventfd", libc().eventfd(0, 0o4000));
  const memory = arena.allocate(8);
  for (const [i, address] of addresses.entries()) {
    memory.view.setBigUint64(0, BigInt(i + 1), true);
    unwrap("write", libc().write(fd, memory.bytes, 8));
    const view = Deno.UnsafePointerView.getArrayBuffer(Deno.UnsafePointer.create(address)!, 8);
    unwrap("read", libc().read(fd, new Uint8Array(view), 8));
    assertEquals(new DataView(view).getBigUint64(0, true), BigInt(i + 1));
  }
  closeDescriptor(fd);
  arena.close();
});

Deno.test("Arena refuses sizes that are none, and to allocate when closed", () => {
  const arena = new Arena();
  for (const size of [0, -1, 1.5, NaN]) assertThrows(() => arena.allocate(size), RangeError);
  arena.close();
  arena.close();
  assertThrows(() => arena.allocate(8), TypeError, "closed");
});
