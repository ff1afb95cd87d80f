import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { plainHeader, readVirtioHeader, VIRTIO_HEADER, writeVirtioHeader } from "./virtio.ts";

Deno.test("readVirtioHeader() decodes a header that Linux wrote", () => {
  // From a TUN device with TSO: 44 segments of 1420 bytes, IPv4 20 and TCP 32 bytes.
  const bytes = Uint8Array.of(1, 1, 52, 0, 0x8c, 5, 20, 0, 16, 0);
  const header = plainHeader();
  readVirtioHeader(new DataView(bytes.buffer), 0, header);
  assertEquals(header, {
    flags: 1,
    gsoType: 1,
    headerLength: 52,
    gsoSize: 1420,
    csumStart: 20,
    csumOffset: 16,
  });
});

Deno.test("writeVirtioHeader() is the inverse of readVirtioHeader()", () => {
  const size = { minLength: VIRTIO_HEADER, maxLength: VIRTIO_HEADER };
  fc.assert(fc.property(fc.uint8Array(size), (bytes) => {
    const header = plainHeader();
    readVirtioHeader(new DataView(bytes.buffer, bytes.byteOffset), 0, header);
    const written = new Uint8Array(VIRTIO_HEADER);
    writeVirtioHeader(new DataView(written.buffer), 0, header);
    assertEquals(written, new Uint8Array(bytes));
  }));
});
