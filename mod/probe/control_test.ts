import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Control, type ExtendedError, readControl, type Timestamp } from "./control.ts";

interface Part {
  readonly level: number;
  readonly type: number;
  readonly data: Uint8Array;
}

/** Control messages as the kernel lays them out (cmsg(3)). */
function control(parts: readonly Part[]): DataView {
  const bytes: number[] = [];
  for (const { level, type, data } of parts) {
    while (bytes.length % 8 !== 0) bytes.push(0);
    const header = new DataView(new ArrayBuffer(16));
    header.setBigUint64(0, BigInt(16 + data.length), true);
    header.setInt32(8, level, true);
    header.setInt32(12, type, true);
    bytes.push(...new Uint8Array(header.buffer), ...data);
  }
  return new DataView(Uint8Array.from(bytes).buffer);
}

function extendedError(error: ExtendedError): Uint8Array {
  const view = new DataView(new ArrayBuffer(32));
  view.setUint32(0, error.errno, true);
  [error.origin, error.type, error.code].forEach((value, i) => view.setUint8(4 + i, value));
  view.setUint32(8, error.info, true);
  if (error.offender !== undefined) {
    view.setUint16(16, 2, true);
    view.setUint32(20, error.offender);
  }
  return new Uint8Array(view.buffer);
}

function timespec({ seconds, nanoseconds }: Timestamp): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setBigInt64(0, BigInt(seconds), true);
  view.setBigInt64(8, BigInt(nanoseconds), true);
  return new Uint8Array(view.buffer);
}

/** struct in_pktinfo of linux/in.h. */
function packetInfo(index: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(12));
  view.setInt32(0, index, true);
  return new Uint8Array(view.buffer);
}

const error: fc.Arbitrary<ExtendedError> = fc.record({
  errno: fc.nat(133),
  origin: fc.nat(255),
  type: fc.nat(255),
  code: fc.nat(255),
  info: fc.nat(0xffffffff),
  offender: fc.option(fc.nat(0xffffffff), { nil: undefined }),
});
const timestamp: fc.Arbitrary<Timestamp> = fc.record({
  seconds: fc.nat(2 ** 40),
  nanoseconds: fc.nat(999_999_999),
});
/** Control messages that were not requested, of any length. */
const other: fc.Arbitrary<Part> = fc.record({
  level: fc.constant(0),
  type: fc.constantFrom(2, 9),
  data: fc.uint8Array({ maxLength: 21 }),
});

Deno.test("readControl() finds errors, timestamps and interfaces among other messages", () => {
  const others = fc.array(other, { maxLength: 3 });
  fc.assert(fc.property(error, timestamp, fc.nat(1e6), others, (e, t, index, others) => {
    const parts = [
      ...others,
      { level: 0, type: 8, data: packetInfo(index) },
      { level: 1, type: 35, data: timespec(t) },
      ...others,
      { level: 0, type: 11, data: extendedError(e) },
    ];
    const view = control(parts);
    const expected: Control = { error: e, received: t, interface: index };
    assertEquals(readControl(view, view.byteLength), expected);
    assertEquals(readControl(control(others), control(others).byteLength), {});
  }));
});

Deno.test("readControl() never reads beyond the kernel's bytes", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 96 }), fc.nat(96), (bytes, length) => {
    const view = new DataView(bytes.buffer);
    readControl(view, Math.min(length, bytes.length));
  }));
  // Cut in the middle of a message.
  const whole = control([{ level: 1, type: 35, data: timespec({ seconds: 1, nanoseconds: 2 }) }]);
  for (let length = 0; length < whole.byteLength; length++) {
    assertEquals(readControl(whole, length), {});
  }
});
