import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { parseIPv4, Prefix } from "../ip/mod.ts";
import { DockerPluginError } from "./errors.ts";
import { choosePool, nextAddress, presentPool, requireFree } from "./leases.ts";

const prefix = (text: string) => Prefix.parse(text)!;
const ip = (text: string) => parseIPv4(text)!;

const BLUE = {
  name: "blue",
  network: prefix("10.20.0.0/16"),
  subnet: prefix("10.20.5.0/24"),
  mtu: 1450,
};
const GREEN = {
  name: "green",
  network: prefix("10.30.0.0/16"),
  subnet: prefix("10.30.7.0/24"),
  mtu: 1472,
};

Deno.test("choosePool() takes the whole lease, the part of --subnet, or the lease of the named network", () => {
  const choose = (...[request, leases = [BLUE]]: [object, (typeof BLUE)[]?]) => {
    const { id, pool } = choosePool(leases, request);
    return { id, pool: String(pool) };
  };
  assertEquals(choose({}), { id: { network: "blue" }, pool: "10.20.5.0/24" });
  const part = prefix("10.20.5.128/25");
  assertEquals(choose({ pool: part }), { id: { part }, pool: "10.20.5.128/25" });
  const both = [BLUE, GREEN];
  assertEquals(choose({ network: "green" }, both).pool, "10.30.7.0/24");
  assertEquals(choose({ pool: part, network: "blue" }, both).pool, "10.20.5.128/25");
});

Deno.test("choosePool() names lease and network of a request that it refuses", () => {
  const refused = (...[leases, request]: Parameters<typeof choosePool>) =>
    assertThrows(() => choosePool(leases, request), DockerPluginError).message;
  assertEquals(
    refused([], {}),
    "this host has no lease yet; flanneld status shows the reason",
  );
  assertEquals(
    refused([BLUE, GREEN], {}),
    "this host has leases of several networks: choose with --ipam-opt network=NAME among blue, green",
  );
  assertEquals(
    refused([BLUE], { network: "red" }),
    'this host has no lease of network "red"',
  );
  assertEquals(
    refused([BLUE], { pool: prefix("10.20.4.0/23") }),
    "10.20.4.0/23 is not in this host's lease 10.20.5.0/24: give --subnet a part of it, or leave " +
      "--subnet out",
  );
  assertEquals(
    refused([BLUE, GREEN], { pool: prefix("10.30.7.0/25"), network: "blue" }),
    "10.30.7.0/25 is of network green, not blue",
  );
  assertEquals(
    refused([BLUE], { pool: prefix("10.20.5.0/31") }),
    "10.20.5.0/31 is too small: expected /30 or shorter",
  );
});

Deno.test("presentPool() follows the lease of a network, and no other", () => {
  const moved = [{ ...BLUE, subnet: prefix("10.40.9.0/24") }, GREEN];
  assertEquals(String(presentPool(moved, { network: "blue" })), "10.40.9.0/24");
  assertThrows(() => presentPool(moved, { part: prefix("10.20.5.0/25") }), DockerPluginError);
  assertThrows(() => presentPool(moved, { network: "red" }), DockerPluginError);
});

Deno.test("nextAddress() hands out every container's address once, and the one that was freed last at the end", () => {
  fc.assert(fc.property(fc.integer({ min: 24, max: 30 }), (length) => {
    const pool = new Prefix(ip("10.20.5.0"), length);
    const taken = new Set<number>();
    let last: number | undefined;
    const next = () => last = nextAddress(pool, last, (one) => taken.has(one));
    for (let i = 0; i < pool.size - 3; i++) {
      const address = next();
      requireFree(pool, address, (one) => taken.has(one));
      taken.add(address);
    }
    assertEquals(taken.size, pool.size - 3);
    assertThrows(next, DockerPluginError, `all ${pool.size - 3} addresses of ${pool} are in use`);
    const [first] = taken;
    taken.delete(first!);
    assertEquals(next(), first);
  }));
});

Deno.test("nextAddress() gives a free address of the pool whatever was given last", () => {
  const pool = prefix("10.20.5.16/28");
  const anyAddress = fc.option(fc.integer({ min: 0, max: 2 ** 32 - 1 }), { nil: undefined });
  const near = fc.integer({ min: pool.address - 2, max: pool.last + 2 });
  fc.assert(fc.property(fc.oneof(anyAddress, near), fc.uniqueArray(near), (last, used) => {
    const isTaken = (one: number) => used.includes(one);
    try {
      const address = nextAddress(pool, last, isTaken);
      assert(!isTaken(address) && address > pool.address + 1 && address < pool.last);
    } catch (error) {
      if (!(error instanceof DockerPluginError)) throw error;
      for (let one = pool.address + 2; one < pool.last; one++) assert(isTaken(one));
    }
  }));
});

Deno.test("requireFree() refuses addresses of network, host and broadcast, and those in use", () => {
  const pool = prefix("10.20.5.0/24");
  for (const text of ["10.20.5.0", "10.20.5.1", "10.20.5.255", "10.20.6.2"]) {
    const error = assertThrows(() => requireFree(pool, ip(text), () => false), DockerPluginError);
    assertEquals(
      error.message,
      `${text} is no container's address of 10.20.5.0/24: expected 10.20.5.2 to 10.20.5.254`,
    );
  }
  assertThrows(
    () => requireFree(pool, ip("10.20.5.9"), () => true),
    DockerPluginError,
    "10.20.5.9 is in use",
  );
});
