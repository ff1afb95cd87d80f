import { assertEquals } from "@std/assert";
import { baseAddress, IOVEC, writeIovec, writePointer } from "./iovec.ts";
import { PacketMemory } from "./memory.ts";

Deno.test("writePointer() writes all 64 bits of addresses up to 2^53", () => {
  const view = new DataView(new ArrayBuffer(8));
  const addresses = [0, 1, 2 ** 32 - 1, 2 ** 32, 0x7fff_1234_5678, 2 ** 52 + 5, 2 ** 53 - 1];
  for (const address of addresses) {
    writePointer(view, 0, address);
    assertEquals(view.getBigUint64(0, true), BigInt(address));
  }
});

Deno.test("writeIovec() writes base and length, and no other byte", () => {
  const bytes = new Uint8Array(new ArrayBuffer(IOVEC + 2)).fill(0xaa);
  const view = new DataView(bytes.buffer);
  writeIovec(view, 1, 0x7fff_0000_0001, 65535);
  assertEquals(view.getBigUint64(1, true), 0x7fff_0000_0001n);
  assertEquals(view.getBigUint64(9, true), 65535n);
  assertEquals([bytes[0], bytes[IOVEC + 1]], [0xaa, 0xaa]);
});

Deno.test("baseAddress() is the address of the memory's bytes", () => {
  const memory = new PacketMemory(65536);
  memory.bytes[77] = 42;
  const pointer = Deno.UnsafePointer.create(BigInt(baseAddress(memory) + 77));
  assertEquals(new Deno.UnsafePointerView(pointer!).getUint8(), 42);
});
