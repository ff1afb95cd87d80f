/** The decapsulation program compared with a simple implementation of its rules. */
import { assert, assertEquals } from "@std/assert";
import type { REASONS } from "../../../backends/udp/kernel/programs/layout.ts";
import {
  check,
  Decapsulation,
  DROP,
  type Fields,
  frame,
  NON_PEER,
  PASS,
  PEER,
  REDIRECT,
  SETTINGS,
  USER_PEER,
} from "./udp_decapsulation.ts";

Deno.test("decapsulation() accepts a peer's packets, with and without checksum and options", () => {
  using program = new Decapsulation(SETTINGS);
  const cases: Fields[] = [
    {},
    { checksum: true },
    { size: 0 },
    { size: 8, checksum: true },
    { size: 1452 },
    { size: 1452, checksum: true },
    { ttl: 2 },
    { ttl: 255 },
    { innerSource: "10.40.2.200", source: USER_PEER },
    { innerOptions: new Uint8Array(40).fill(1) },
    { innerOptions: new Uint8Array(40).fill(1), checksum: true },
    { padding: 12 },
    { protocol: 6 },
  ];
  for (const fields of cases) {
    assertEquals(check(program, frame(fields)), REDIRECT, JSON.stringify(fields));
  }
  assertEquals(program.received(PEER), cases.length - 1);
  assertEquals(program.received(USER_PEER), 1);
});

Deno.test("decapsulation() drops and counts unknown senders, other hosts' destinations, spoofed sources", () => {
  using program = new Decapsulation(SETTINGS);
  const cases: [Fields, typeof REASONS[number]][] = [
    [{ source: NON_PEER }, "dropReceiveUnknownSender"],
    [{ innerDestination: "10.40.2.7" }, "dropReceiveForeign"],
    [{ innerDestination: "192.0.2.1" }, "dropReceiveForeign"],
    // In another peer's lease, in this host's, in no lease, and in a lease inside the sender's.
    [{ innerSource: "10.40.3.9" }, "dropReceiveSpoofed"],
    [{ innerSource: "10.40.1.9" }, "dropReceiveSpoofed"],
    [{ innerSource: "10.40.99.9" }, "dropReceiveSpoofed"],
    [{ innerSource: "10.40.2.200" }, "dropReceiveSpoofed"],
  ];
  for (const [fields, reason] of cases) {
    const before = program.drops(reason);
    assertEquals(check(program, frame(fields)), DROP, JSON.stringify(fields));
    assertEquals(program.drops(reason), before + 1, JSON.stringify(fields));
  }
});

Deno.test("decapsulation() passes packets that user space filters", () => {
  using program = new Decapsulation(SETTINGS);
  const gsoBatch = frame({ size: 40 });
  new DataView(gsoBatch.buffer).setUint16(44, 40); // The packet ends before its datagram.
  const fragment = frame();
  fragment[20] = 0x20;
  const options = frame();
  options[14] = 0x46;
  for (
    const bytes of [
      frame({ ttl: 1 }),
      frame({ ttl: 0 }),
      frame({ port: 8286 }),
      frame({ destination: NON_PEER }),
      frame({ innerSource: "192.0.2.1" }),
      frame({ innerSource: "10.40.3.9", source: USER_PEER }),
      frame({ innerSource: "10.40.4.9", source: USER_PEER, checksum: true }),
      frame({ size: 0, checksum: true }),
      ...[gsoBatch, fragment, options],
    ]
  ) assertEquals(check(program, bytes), PASS);
});

Deno.test("decapsulation() accepts what a kernel has sent, of a peer that user space sends to", () => {
  using program = new Decapsulation(SETTINGS);
  const bytes = frame({ innerSource: "10.40.4.9", source: USER_PEER });
  assertEquals(check(program, bytes), REDIRECT);
});

Deno.test("decapsulation() with strictSource drops sources outside, with acceptAny leaves all to user space", () => {
  const outside = frame({ innerSource: "192.0.2.1" });
  using strict = new Decapsulation({ ...SETTINGS, strictSource: true });
  assertEquals(check(strict, outside, { strictSource: true }), DROP);
  assertEquals(check(strict, frame(), { strictSource: true }), REDIRECT);
  using any = new Decapsulation({ ...SETTINGS, acceptAny: true });
  for (const bytes of [outside, frame({ source: NON_PEER }), frame({ innerSource: "10.40.3.9" })]) {
    assertEquals(check(any, bytes, { acceptAny: true }), PASS);
  }
  assertEquals(check(any, frame({ innerDestination: "10.40.2.7" }), { acceptAny: true }), DROP);
});

Deno.test("decapsulation() accepts no frame that is not valid, of 60,000 random ones", () => {
  for (const options of [{}, { strictSource: true }, { acceptAny: true }]) {
    using program = new Decapsulation({ ...SETTINGS, ...options });
    const seen = new Map<number, number>();
    const random = (below: number) => Math.floor(Math.random() * below);
    const addresses = [PEER, PEER, PEER, USER_PEER, NON_PEER];
    const sources = [
      "10.40.2.9",
      "10.40.2.9",
      "10.40.4.9",
      "10.40.2.9",
      "10.40.2.200",
      "10.40.3.9",
      "10.40.1.1",
      "192.0.2.1",
    ];
    for (let i = 0; i < 20_000; i++) {
      let bytes = frame({
        source: addresses[random(5)]!,
        innerSource: sources[random(sources.length)]!,
        innerDestination: ["10.40.1.7", "10.40.1.7", "10.40.2.7"][random(3)]!,
        ttl: [64, 64, 2, 1, 0][random(5)]!,
        protocol: [6, 17, 253][random(3)]!,
        size: random(200),
        checksum: random(2) === 0,
        padding: random(3) * 9,
      });
      // Flips bits of the headers, and truncates.
      for (let flips = random(4); flips > 0; flips--) {
        bytes[12 + random(60)]! ^= 1 << random(8);
      }
      if (random(6) === 0) bytes = bytes.slice(0, 34 + random(bytes.length - 34));
      if (random(20) === 0) crypto.getRandomValues(bytes.subarray(34));
      const verdict = check(program, bytes, options);
      seen.set(verdict, (seen.get(verdict) ?? 0) + 1);
    }
    // The generator must produce each verdict.
    for (const verdict of [PASS, DROP, REDIRECT]) {
      assert((seen.get(verdict) ?? 0) > 500, `${verdict}: ${seen.get(verdict)}`);
    }
  }
});
