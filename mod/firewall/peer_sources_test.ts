import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { parseIPv4, Prefix } from "../ip/mod.ts";
import { type Peer, PeerSources } from "./peer_sources.ts";

const peer = (subnet: string, publicIP: string): Peer => ({
  subnet: Prefix.parse(subnet)!,
  publicIP: parseIPv4(publicIP)!,
});

const texts = (prefixes: Iterable<Prefix>) => [...prefixes].map(String).sort();

Deno.test("PeerSources keeps a public IP while any subnet names it", () => {
  const sources = new PeerSources();
  const [one, two] = [peer("10.20.7.0/24", "192.0.2.1"), peer("10.20.8.0/24", "192.0.2.1")];
  sources.replace([one, two]);
  assertEquals(texts(sources.values()), ["10.20.7.0/24", "10.20.8.0/24", "192.0.2.1/32"]);
  const change = sources.change([one], []);
  assertEquals([texts(change.added), texts(change.removed)], [[], ["10.20.7.0/24"]]);
  const moved = peer("10.20.8.0/24", "192.0.2.2");
  const move = sources.change([two], [moved]);
  assertEquals([texts(move.added), texts(move.removed)], [["192.0.2.2/32"], ["192.0.2.1/32"]]);
  assertEquals(sources.size, 2);
});

Deno.test("PeerSources.change() returns the difference of before and after", () => {
  const anyPeer = fc.record({ net: fc.nat(8), host: fc.nat(3) })
    .map(({ net, host }) => peer(`10.20.${net}.0/24`, `192.0.2.${host}`));
  fc.assert(fc.property(fc.array(anyPeer), fc.array(anyPeer), fc.nat(20), (start, coming, left) => {
    const sources = new PeerSources();
    sources.replace(start);
    const before = new Set(texts(sources.values()));
    const leaving = start.slice(0, left);
    const { added, removed } = sources.change(leaving, coming);
    const after = new Set(texts(sources.values()));
    assertEquals(texts(added), [...after.difference(before)].sort());
    assertEquals(texts(removed), [...before.difference(after)].sort());
    const expected = new PeerSources();
    expected.replace([...start.slice(left), ...coming]);
    assertEquals(after, new Set(texts(expected.values())));
    assertEquals(sources.size, after.size);
  }));
});
