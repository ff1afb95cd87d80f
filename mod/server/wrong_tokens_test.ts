import { assertEquals } from "@std/assert";
import { WrongTokenLimit } from "./wrong_tokens.ts";

Deno.test("WrongTokenLimit allows each address a burst of 20, then one a second", () => {
  const limit = new WrongTokenLimit();
  for (let i = 0; i < 20; i++) assertEquals(limit.count("192.0.2.1", 0), true);
  assertEquals(limit.count("192.0.2.1", 0), false);
  assertEquals(limit.count("::ffff:192.0.2.1", 999), false);
  assertEquals(limit.count("192.0.2.2", 0), true);
  assertEquals(limit.count("192.0.2.1", 1_000), true);
  assertEquals(limit.count("192.0.2.1", 1_000), false);
  for (let i = 0; i < 20; i++) assertEquals(limit.count(`2001:db8::${i}`, 0), true);
  assertEquals(limit.count("2001:db8::ffff", 0), false);
  assertEquals(limit.count("2001:db8:0:1::", 0), true);
});

Deno.test("WrongTokenLimit forgets the longest unused address beyond 4,096", () => {
  const limit = new WrongTokenLimit();
  for (let i = 0; i < 21; i++) limit.count("192.0.2.1", 0);
  for (let i = 0; i < 4_095; i++) limit.count(`10.0.${i >> 8}.${i & 255}`, 0);
  assertEquals(limit.count("192.0.2.1", 0), false);
  for (let i = 0; i < 4_096; i++) limit.count(`10.1.${i >> 8}.${i & 255}`, 0);
  assertEquals(limit.addresses, 4_096);
  assertEquals(limit.count("192.0.2.1", 0), true);
});
