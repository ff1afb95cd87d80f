import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { Buffer } from "node:buffer";
import { parseIPv4 } from "../../ip/mod.ts";
import { readKernelEvent } from "./event.ts";
import { MessageCursor } from "./wire/message.ts";
import { MessageWriter } from "./wire/message_writer.ts";
import { RTM_DELNEIGH, RTM_NEWNEIGH, writeFdbEntry } from "./objects/neighbour.ts";
import type { KernelEvent } from "./wire/types.ts";

/**
 * Datagrams of RTNLGRP_NEIGH after `bridge fdb` commands for flannel.1 (index 4), one a line.
 * Linux 5.10.223, 6.1.176 and 6.12.117 of Debian sent the same bytes but for the times in
 * NDA_CACHEINFO; 6.18 sent the first datagram of each command alone, and none for the third.
 */
const RECORDED = {
  "bridge fdb append 0a:00:00:00:00:02 dev flannel.1 dst 172.28.128.10 permanent self": [
    "440000001c00000000000000000000000700000004000000c00002010a0002000a0000000002000008000100ac1c800a1400030000000000000000000000000000000000",
    "280000001c00000000000000000000000700000004000000c00002000a0002000a00000000020000",
  ],
  "bridge fdb replace 0a:00:00:00:00:02 dev flannel.1 dst 172.28.128.11 permanent self": [
    "440000001c00000000000000000000000700000004000000c00002010a0002000a0000000002000008000100ac1c800b14000300000000003a0000003a00000000000000",
    "280000001c00000000000000000000000700000004000000c00002000a0002000a00000000020000",
  ],
  "bridge fdb replace 0a:00:00:00:00:02 dev flannel.1 dst 172.28.128.11 permanent": [
    "280000001c00000000000000000000000700000004000000c00002000a0002000a00000000020000",
  ],
  "bridge fdb del 0a:00:00:00:00:02 dev flannel.1": [
    "440000001d00000000000000000000000700000004000000c00002010a0002000a0000000002000008000100ac1c800b1400030000000000000000005b01000000000000",
    "280000001d00000000000000000000000700000004000000c00002000a0002000a00000000020000",
  ],
};

/** NUD_NOARP | NUD_PERMANENT of linux/neighbour.h, which `bridge` asks for. */
const STATE = 0xc0;

function readEvents(bytes: Uint8Array<ArrayBuffer>): KernelEvent[] {
  const cursor = new MessageCursor().enter(new DataView(bytes.buffer), 0, bytes.length);
  const events: KernelEvent[] = [];
  while (cursor.next()) {
    const event = readKernelEvent(cursor);
    if (event !== undefined) events.push(event);
  }
  return events;
}

Deno.test("readKernelEvent() reads one event per FDB change, also where the kernel announces it twice", () => {
  const entry = (destination: string) => ({
    ...{ index: 4, mac: "0a:00:00:00:00:02", state: STATE },
    destination: parseIPv4(destination)!,
  });
  const events = Object.values(RECORDED).map((datagrams) =>
    datagrams.flatMap((hex) => readEvents(new Uint8Array(Buffer.from(hex, "hex"))))
  );
  assertEquals(events, [
    [{ type: "fdb", entry: entry("172.28.128.10") }],
    [{ type: "fdb", entry: entry("172.28.128.11") }],
    [],
    [{ type: "fdb-removed", entry: entry("172.28.128.11") }],
  ]);
});

Deno.test("readKernelEvent() reads no event from a reflected FDB request", () => {
  const octet = fc.integer({ min: 0, max: 255 }).map((value) =>
    value.toString(16).padStart(2, "0")
  );
  const entry = fc.record({
    index: fc.integer({ min: 1, max: 0x7fffffff }),
    mac: fc.array(octet, { minLength: 6, maxLength: 6 }).map((octets) => octets.join(":")),
    state: fc.integer({ min: 0, max: 0xffff }),
  });
  fc.assert(fc.property(entry, fc.constantFrom(RTM_NEWNEIGH, RTM_DELNEIGH), (entry, type) => {
    const writer = new MessageWriter(64);
    writeFdbEntry(writer, type, 0, 0, entry);
    assertEquals(readEvents(writer.bytes.slice()), []);
  }));
});
