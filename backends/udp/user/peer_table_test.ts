import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { type IPv4, parseIPv4, Prefix } from "../../../mod/ip/mod.ts";
import { fastest } from "../../../mod/sys/testing/fastest.ts";
import { PeerLookup } from "./peer_lookup.ts";
import { PeerTable } from "./peer_table.ts";

const prefix = (text: string) => Prefix.parse(text)!;
const ip = (text: string) => parseIPv4(text)!;

function tableOf(network: string, subnetLen: number) {
  const table = new PeerTable({ network: prefix(network), subnetLen });
  return { table, lookup: new PeerLookup(table.shared) };
}

Deno.test("set() routes all addresses of a subnet, and no others", () => {
  const { table, lookup } = tableOf("10.40.0.0/16", 24);
  const peer = table.set(prefix("10.40.75.0/24"), ip("192.168.0.1"));
  for (const address of ["10.40.75.0", "10.40.75.9", "10.40.75.255"]) {
    assertEquals(lookup.route(ip(address)), ip("192.168.0.1"));
    assertEquals(lookup.peer, peer);
  }
  for (
    const address of ["10.40.74.255", "10.40.76.0", "10.41.75.1", "0.0.0.0", "255.255.255.255"]
  ) {
    assertEquals(lookup.route(ip(address)), 0);
    assertEquals(lookup.peer, 0);
  }
});

Deno.test("set() replaces the peer of a subnet, and remove() removes it", () => {
  const { table, lookup } = tableOf("10.40.0.0/16", 24);
  const subnet = prefix("10.40.75.0/24");
  table.set(subnet, ip("192.168.0.1"));
  table.set(subnet, ip("192.168.0.2"));
  assertEquals(lookup.route(ip("10.40.75.1")), ip("192.168.0.2"));
  assertEquals(lookup.peerOf(ip("192.168.0.1")), 0);
  assertEquals([...table.peers()].length, 1);
  assert(table.remove(subnet));
  assert(!table.remove(subnet));
  assertEquals(lookup.route(ip("10.40.75.1")), 0);
  assertEquals([...table.peers(), table.size], [0]);
});

Deno.test("PeerTable keeps a peer until its last lease is removed", () => {
  const { table, lookup } = tableOf("10.40.0.0/16", 24);
  const first = table.set(prefix("10.40.1.0/24"), ip("192.168.0.1"));
  assertEquals(table.set(prefix("10.40.2.0/24"), ip("192.168.0.1")), first);
  table.remove(prefix("10.40.1.0/24"));
  assertEquals(lookup.peerOf(ip("192.168.0.1")), first);
  table.remove(prefix("10.40.2.0/24"));
  assertEquals(lookup.peerOf(ip("192.168.0.1")), 0);
});

Deno.test("set() lets the longest of nested leases apply", () => {
  const { table, lookup } = tableOf("10.0.0.0/8", 24);
  table.set(prefix("10.128.0.0/9"), 1);
  table.set(prefix("10.200.0.0/16"), 2);
  table.set(prefix("10.200.7.0/24"), 3);
  table.set(prefix("10.200.7.128/25"), 4);
  table.set(prefix("10.200.7.130/31"), 5);
  const route = (text: string) => lookup.route(ip(text));
  assertEquals(["10.127.0.1", "10.128.0.1", "10.200.0.1"].map(route), [0, 1, 2]);
  assertEquals(["10.200.7.1", "10.200.7.129", "10.200.7.130"].map(route), [3, 4, 5]);
  table.remove(prefix("10.200.7.0/24"));
  assertEquals(["10.200.7.1", "10.200.7.129"].map(route), [2, 4]);
  table.remove(prefix("10.200.7.130/31"));
  table.remove(prefix("10.200.7.128/25"));
  table.remove(prefix("10.200.0.0/16"));
  assertEquals(["10.200.7.1", "10.200.7.131", "10.200.8.1"].map(route), [1, 1, 1]);
});

Deno.test("set() refuses a subnet that it cannot route, and names it", () => {
  const { table } = tableOf("10.40.0.0/16", 24);
  assertThrows(
    () => table.set(prefix("10.41.0.0/24"), 1),
    RangeError,
    "10.41.0.0/24 is not within Network 10.40.0.0/16",
  );
  const wide = tableOf("8.0.0.0/6", 24).table;
  assertThrows(() => wide.set(prefix("8.0.0.0/30"), 1), RangeError, "longer than /29");
  assertThrows(
    () => new PeerTable({ network: prefix("10.40.0.0/16"), subnetLen: 15 }),
    RangeError,
    "SubnetLen 15 is not within 16 and 31",
  );
  assertThrows(
    () => new PeerTable({ network: prefix("0.0.0.0/2"), subnetLen: 30 }),
    RangeError,
    "SubnetLen 30 is not within 2 and 26",
  );
});

Deno.test("setOwn() sets this host's lease, changes it, and removes it", () => {
  const { table, lookup } = tableOf("10.40.0.0/16", 24);
  assert(!lookup.inOwnLease(0));
  assert(!lookup.inOwnLease(0xffffffff));
  table.setOwn(prefix("10.40.3.0/24"));
  assertEquals(
    ["10.40.3.0", "10.40.3.255", "10.40.4.0", "10.40.2.255"].map((text) =>
      lookup.inOwnLease(ip(text))
    ),
    [true, true, false, false],
  );
  table.setOwn(prefix("10.40.4.0/23"));
  assert(lookup.inOwnLease(ip("10.40.5.1")) && !lookup.inOwnLease(ip("10.40.3.1")));
  table.setOwn(undefined);
  assert(!lookup.inOwnLease(ip("10.40.5.1")));
});

Deno.test("PeerTable passes options and stop() to the workers", () => {
  const network = prefix("10.0.0.0/16");
  const read = (options: { acceptAny?: boolean; strictSource?: boolean }) => {
    const table = new PeerTable({ network, subnetLen: 24, ...options });
    const lookup = new PeerLookup(table.shared);
    assert(!lookup.stopped);
    table.stop();
    return [lookup.acceptAny, lookup.strictSource, lookup.stopped];
  };
  assertEquals(read({}), [false, false, true]);
  assertEquals(read({ acceptAny: true }), [true, false, true]);
  assertEquals(read({ strictSource: true }), [false, true, true]);
});

Deno.test("PeerTable.setStrictSource() changes no other option", () => {
  const network = prefix("10.0.0.0/16");
  for (const acceptAny of [true, false]) {
    const table = new PeerTable({ network, subnetLen: 24, acceptAny });
    const lookup = new PeerLookup(table.shared);
    for (const isStrict of [true, true, false, false, true]) {
      table.setStrictSource(isStrict);
      assertEquals([lookup.acceptAny, lookup.strictSource], [acceptAny, isStrict]);
    }
  }
});

/** Longest match by a linear search. */
function naiveRoute(leases: ReadonlyMap<string, [Prefix, IPv4]>, address: IPv4): IPv4 {
  let best = -1, publicIP = 0;
  for (const [subnet, next] of leases.values()) {
    if (subnet.length > best && subnet.contains(address)) [best, publicIP] = [subnet.length, next];
  }
  return publicIP;
}

Deno.test("route() and peerOf() agree with a linear search over any leases", () => {
  const networks: [string, number][] = [["10.40.0.0/16", 24], ["10.16.0.0/14", 20], [
    "10.9.8.0/24",
    28,
  ]];
  const step = fc.record({
    offset: fc.nat(0xffffffff),
    longer: fc.constantFrom(0, 0, 0, -6, -2, -1, 1, 3, 20),
    publicIP: fc.integer({ min: 1, max: 12 }),
    remove: fc.boolean(),
  });
  fc.assert(
    fc.property(
      fc.constantFrom(...networks),
      fc.array(step, { maxLength: 60, size: "max" }),
      fc.array(fc.nat(0xffffffff), { minLength: 10, maxLength: 10 }),
      ([text, subnetLen], steps, probes) => {
        const network = prefix(text);
        const { table, lookup } = tableOf(text, subnetLen);
        const leases = new Map<string, [Prefix, IPv4]>();
        // Few distinct addresses, so that leases nest.
        const place = (offset: number) =>
          network.address + Math.floor((offset % 64) * network.size / 64) + (offset >>> 30);
        for (const { offset, longer, publicIP, remove } of steps) {
          const length = Math.max(network.length, Math.min(31, subnetLen + longer));
          const subnet = new Prefix(place(offset), length);
          if (remove) {
            assertEquals(table.remove(subnet), leases.delete(subnet.toString()));
          } else {
            table.set(subnet, publicIP);
            leases.set(subnet.toString(), [subnet, publicIP]);
          }
        }
        const edges = [...leases.values()].flatMap(([s]) => [s.address, s.last, s.last + 1]);
        for (const address of [...probes.map(place), ...probes, ...edges]) {
          assertEquals(lookup.route(address), naiveRoute(leases, address));
        }
        const known = new Set([...leases.values()].map(([, publicIP]) => publicIP));
        for (let publicIP = 1; publicIP <= 12; publicIP++) {
          assertEquals(lookup.peerOf(publicIP) !== 0, known.has(publicIP));
        }
        assertEquals(table.size, leases.size);
      },
    ),
    { numRuns: 300 },
  );
});

Deno.test("set() and remove() take a lease of millions of subnets in the time of a fill", () => {
  const { table, lookup } = tableOf("64.0.0.0/2", 26);
  // Leases inside of it, shorter than, as long as and longer than subnetLen.
  table.set(prefix("80.0.0.0/12"), 2);
  table.set(prefix("64.0.1.0/26"), 3);
  const short = prefix("64.0.0.0/3");
  const words = new Uint32Array(new SharedArrayBuffer(4 * 2 ** 23));
  const fill = fastest(5, () => words.fill(7));
  const change = fastest(5, () => {
    table.set(short, 1);
    table.remove(short);
  });
  // The change takes about two fills. Looking up each of the 2^23 subnets took a thousand times as long.
  assert(change < 60 * Math.max(fill, 1), `${change} ms, a fill ${fill} ms`);
  table.set(short, 1);
  const route = (text: string) => lookup.route(ip(text));
  assertEquals(["64.0.0.1", "64.0.1.1", "80.1.0.1", "95.255.255.255"].map(route), [1, 3, 2, 1]);
});

Deno.test("PeerTable holds 65,536 leases and reuses indices", () => {
  const { table, lookup } = tableOf("10.0.0.0/8", 24);
  const subnet = (i: number) => new Prefix(0x0a000000 + i * 256, 24);
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 65536; i++) table.set(subnet(i), 0x64000000 + round * 65536 + i);
    assertEquals(lookup.route(ip("10.255.255.1")), 0x64000000 + round * 65536 + 65535);
    assert(lookup.peerOf(0x64000000 + round * 65536 + 777) !== 0);
    for (let i = 0; i < 65536; i++) table.remove(subnet(i));
  }
  assertEquals([table.size, [...table.peers()].length], [0, 0]);
});

Deno.test("PeerLookup never mixes two peers while the table changes under it", async () => {
  const { table } = tableOf("10.40.0.0/16", 24);
  const worker = new Worker(new URL("./testing/lookup_worker.ts", import.meta.url), {
    type: "module",
  });
  try {
    // Subnet i is only ever routed to public IPs whose last byte is i.
    const answer = Promise.withResolvers<{ lookups: number; found: number; mixed: number }>();
    const started = Promise.withResolvers<void>();
    worker.onmessage = ({ data }) => data === "started" ? started.resolve() : answer.resolve(data);
    worker.onerror = (event) => answer.reject(event);
    const progress = new Int32Array(new SharedArrayBuffer(4));
    worker.postMessage({ table: table.shared, progress });
    await started.promise;
    const until = performance.now() + 500;
    // On a busy host the worker may not run in that time.
    const isEnough = () => performance.now() >= until && Atomics.load(progress, 0) > 10_000;
    for (let round = 0; !isEnough(); round++) {
      for (let i = 0; i < 8; i++) {
        const subnet = prefix(`10.40.${i}.0/24`);
        if ((round + i) % 3 === 0) table.remove(subnet);
        else table.set(subnet, 0x64000000 + (round % 5) * 256 + i);
        if ((round + i) % 7 === 0) table.set(prefix(`10.40.${i}.128/25`), 0x65000000 + i);
        if ((round + i) % 7 === 3) table.remove(prefix(`10.40.${i}.128/25`));
      }
    }
    table.stop();
    const { lookups, found, mixed } = await answer.promise;
    assert(lookups > found && found > 10_000, `${lookups} lookups, ${found} found`);
    assertEquals(mixed, 0);
  } finally {
    worker.terminate();
  }
});
