import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { onesComplementSum } from "../ip/checksum.ts";
import { TOKEN } from "./echo_message.ts";
import { type ArpFrame, decodeFrame, type EchoFrame, encodeFrame, type Station } from "./frame.ts";

const octet = fc.nat(255).map((value) => value.toString(16).padStart(2, "0"));
const mac = fc.array(octet, { minLength: 6, maxLength: 6 }).map((octets) => octets.join(":"));
const station: fc.Arbitrary<Station> = fc.record({ mac, address: fc.nat(0xffffffff) });
const arp: fc.Arbitrary<ArpFrame> = fc.record({
  type: fc.constant("arp" as const),
  isReply: fc.boolean(),
  sender: station,
  target: station,
});
const echo: fc.Arbitrary<EchoFrame> = fc.record({
  type: fc.constant("echo" as const),
  source: station,
  destination: station,
  echo: fc.record({
    isReply: fc.boolean(),
    identifier: fc.nat(0xffff),
    sequence: fc.nat(0xffff),
    token: fc.uint8Array({ minLength: TOKEN, maxLength: TOKEN }),
  }),
});

Deno.test("encodeFrame() and decodeFrame() undo each other", () => {
  fc.assert(fc.property(fc.oneof(arp, echo), (frame) => {
    const decoded = decodeFrame(encodeFrame(frame))!;
    const token = decoded.type === "echo" ? { token: new Uint8Array(decoded.echo.token) } : {};
    assertEquals(
      decoded.type === "echo" ? { ...decoded, echo: { ...decoded.echo, ...token } } : decoded,
      frame,
    );
  }));
});

Deno.test("encodeFrame() writes right checksums, and lengths as ping(8) has them", () => {
  fc.assert(fc.property(echo, (frame) => {
    const bytes = encodeFrame(frame);
    const view = new DataView(bytes.buffer);
    assertEquals([bytes.length, view.getUint16(16)], [98, 84]);
    // A sum over a header with its right checksum is all ones (RFC 1071).
    assertEquals(onesComplementSum(view, 14, 20), 0xffff);
    assertEquals(onesComplementSum(view, 34, 64), 0xffff);
  }));
});

Deno.test("encodeFrame() broadcasts ARP requests, and sends replies to the asker", () => {
  const [a, b] = [{ mac: "02:00:00:00:00:01", address: 1 }, {
    mac: "02:00:00:00:00:02",
    address: 2,
  }];
  const to = (isReply: boolean) =>
    encodeFrame({ type: "arp", isReply, sender: a, target: b }).subarray(0, 6).toHex();
  assertEquals([to(false), to(true)], ["ffffffffffff", "020000000002"]);
  assertThrows(
    () => encodeFrame({ type: "arp", isReply: true, sender: a, target: { ...b, mac: "none" } }),
    TypeError,
    "no MAC",
  );
});

Deno.test("decodeFrame() refuses other bytes, and never reads beyond them", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => {
    const copy = new Uint8Array(bytes);
    // EtherTypes that occur once in 65,536 are put in.
    if (copy.length > 14) copy[12] = 8;
    decodeFrame(copy);
  }));
  fc.assert(fc.property(fc.oneof(arp, echo), fc.nat(97), (frame, length) => {
    const bytes = encodeFrame(frame);
    // Everything but the padding behind the token is needed.
    const needed = frame.type === "arp" ? 42 : 14 + 20 + 8 + TOKEN;
    fc.pre(length < needed);
    assertEquals(decodeFrame(bytes.slice(0, length)), undefined);
  }));
});
