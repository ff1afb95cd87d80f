import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { parseIPv4, Prefix } from "../../../ip/mod.ts";
import { type IpsecPolicy, isProtected, type PolicyPacket, readPolicy } from "./ipsec_policy.ts";
import { MessageCursor } from "../wire/message.ts";

const HEADER = 16;
const INFO = 168;
const ip = (text: string) => parseIPv4(text)!;

/** Wraps a body, and u32 attributes behind it, in a netlink message. */
function message(body: Uint8Array, attributes: readonly (readonly [number, number])[] = []) {
  const bytes = new Uint8Array(HEADER + body.length + 8 * attributes.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint16(4, 0x13, true);
  bytes.set(body, HEADER);
  attributes.forEach(([type, value], i) => {
    const at = HEADER + body.length + 8 * i;
    view.setUint16(at, 8, true);
    view.setUint16(at + 2, type, true);
    view.setUint32(at + 4, value, true);
  });
  const cursor = new MessageCursor();
  cursor.enter(view, 0, bytes.length);
  assert(cursor.next());
  return cursor;
}

/** `struct xfrm_userpolicy_info` of 172.28.128.0/24 to 172.28.128.101, UDP port 8285 to any, by priority 100. */
function info({ direction = 1, action = 0, family = 2 } = {}): Uint8Array {
  const bytes = new Uint8Array(INFO);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, ip("172.28.128.101"));
  view.setUint32(16, ip("172.28.128.0"));
  view.setUint16(36, 8285);
  view.setUint16(38, 0xffff);
  view.setUint16(40, family, true);
  bytes.set([32, 24, 17], 42);
  view.setUint32(152, 100, true);
  bytes.set([direction, action], 160);
  return bytes;
}

const PACKET: PolicyPacket = {
  ...{ direction: "out", protocol: 17, sourcePort: 8285, destinationPort: 8285 },
  ...{ source: ip("172.28.128.100"), destination: ip("172.28.128.101") },
};

Deno.test("readPolicy() reads selector, priority, direction and whether the policy applies", () => {
  const bypass: IpsecPolicy = {
    ...{ direction: "out", protocol: 17, priority: 100, applies: false },
    source: Prefix.parse("172.28.128.0/24")!,
    destination: Prefix.parse("172.28.128.101/32")!,
    sourcePort: { port: 8285, mask: 0xffff },
    destinationPort: { port: 0, mask: 0 },
  };
  assertEquals(readPolicy(message(info())), bypass);
  assertEquals(readPolicy(message(info(), [[5, 0]])), { ...bypass, applies: true });
  assertEquals(readPolicy(message(info({ action: 1 }))), { ...bypass, applies: true });
  assertEquals(readPolicy(message(info({ direction: 0 })))!.direction, "in");
});

Deno.test("readPolicy() leaves out IPv6, marked packets' and xfrm interfaces' policies", () => {
  assertEquals(readPolicy(message(info({ family: 10 }))), undefined);
  assertEquals(readPolicy(message(info({ direction: 7 }))), undefined);
  for (const attribute of [21, 31]) {
    assertEquals(readPolicy(message(info(), [[attribute, 5]])), undefined);
    assert(readPolicy(message(info(), [[attribute, 0]])) !== undefined);
  }
  assertEquals(readPolicy(message(new Uint8Array(INFO - 4))), undefined);
});

Deno.test("readPolicy() takes any bytes", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: INFO }), (bytes) => {
    const body = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
    body.set(bytes);
    readPolicy(message(body));
  }));
});

Deno.test("isProtected() follows the policy of the lowest priority number that matches", () => {
  const policy = readPolicy(message(info(), [[5, 0]]))!;
  const bypass = { ...policy, priority: 99, applies: false };
  assert(isProtected([policy], PACKET));
  assert(!isProtected([], PACKET));
  assert(!isProtected([policy, bypass], PACKET));
  assert(isProtected([bypass, { ...policy, priority: 98 }], PACKET));
  assert(isProtected([{ ...bypass, priority: 100 }, policy], PACKET));
  for (
    const other of [
      { direction: "in" as const },
      { source: ip("172.28.129.1") },
      { destination: ip("172.28.128.102") },
      { protocol: 6 },
      { sourcePort: 8472 },
    ]
  ) {
    assert(!isProtected([policy], { ...PACKET, ...other }), JSON.stringify(other));
  }
  assert(isProtected([policy], { ...PACKET, destinationPort: 1 }));
});
