import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { gatewayOf, parseIPv4, Prefix } from "../../ip/mod.ts";
import { CniError } from "../errors.ts";
import {
  type AddressLeases,
  decodeLeases,
  encodeLeases,
  findLease,
  leaseAddress,
  NO_LEASES,
  staleLeases,
  withoutLease,
} from "./address_leases.ts";

const ip = (text: string) => parseIPv4(text)!;

const attachment = (id: number) => ({
  ...{ containerID: `c${id}`, ifname: "eth0", hostEnd: `veth${id}` },
});

/** Carries out ADDs (true) and DELs of the oldest (false). */
function replay(subnet: Prefix, steps: readonly boolean[]) {
  let leases: AddressLeases = NO_LEASES;
  let refused = 0;
  steps.forEach((isAdd, id) => {
    if (!isAdd) {
      const [oldest] = leases.leases;
      if (oldest !== undefined) leases = withoutLease(leases, oldest);
      return;
    }
    const leased = leaseAddress(leases, subnet, attachment(id));
    if (leased === undefined) refused++;
    else leases = leased.leases;
  });
  return { leases, refused };
}

Deno.test("leaseAddress() leases each host address once, and refuses only when none is free", () => {
  const subnets = fc.tuple(fc.nat(0xffffffff), fc.integer({ min: 26, max: 32 }));
  fc.assert(fc.property(subnets, fc.array(fc.boolean(), { maxLength: 100 }), (
    [address, length],
    steps,
  ) => {
    const subnet = new Prefix(address, length);
    const { leases: { leases }, refused } = replay(subnet, steps);
    const addresses = leases.map(({ address }) => address);
    assertEquals(new Set(addresses).size, addresses.length);
    for (const address of addresses) {
      assert(subnet.contains(address) && address > gatewayOf(subnet) && address < subnet.last);
    }
    const room = Math.max(0, subnet.size - 3);
    const adds = steps.filter((isAdd) => isAdd).length;
    assert(addresses.length <= room && (refused === 0 || adds > room));
  }));
});

Deno.test("leaseAddress() leases a chosen address that is a container's and free, and no other", () => {
  const subnet = Prefix.parse("10.20.93.0/24")!;
  const lease = (leases: AddressLeases, chosen: string) =>
    leaseAddress(leases, subnet, attachment(1), ip(chosen));
  const { leases } = lease(NO_LEASES, "10.20.93.254")!;
  assertEquals(leases.leases.map(({ address }) => address), [ip("10.20.93.254")]);
  assertThrows(() => lease(leases, "10.20.93.254"), CniError, "10.20.93.254 is in use");
  for (const other of ["10.20.93.0", "10.20.93.1", "10.20.93.255", "10.20.94.2"]) {
    const message = `${other} is no container's address of this host's lease 10.20.93.0/24`;
    assertThrows(() => lease(NO_LEASES, other), CniError, message);
  }
});

Deno.test("leaseAddress() leases a returned address again only after all others", () => {
  const subnet = Prefix.parse("10.20.93.0/29")!;
  let leases: AddressLeases = NO_LEASES;
  const order: number[] = [];
  for (let id = 0; id < 7; id++) {
    const leased = leaseAddress(leases, subnet, attachment(id))!;
    order.push(leased.lease.address & 0xff);
    leases = withoutLease(leased.leases, leased.lease);
  }
  assertEquals(order, [2, 3, 4, 5, 6, 2, 3]);
});

Deno.test("leaseAddress() begins at the start of a new subnet", () => {
  const last = ip("10.20.93.77");
  const subnet = Prefix.parse("10.20.94.0/24")!;
  const leased = leaseAddress({ leases: [], last }, subnet, attachment(1))!;
  assertEquals(leased.lease.address, ip("10.20.94.2"));
});

Deno.test("decodeLeases() reads what encodeLeases() wrote", () => {
  fc.assert(fc.property(fc.array(fc.boolean(), { maxLength: 40 }), (steps) => {
    const { leases } = replay(Prefix.parse("10.20.93.0/26")!, steps);
    assertEquals(decodeLeases("f", encodeLeases(leases)), leases);
  }));
});

Deno.test("decodeLeases() throws one error for anything else", () => {
  const texts = fc.oneof(
    fc.string(),
    fc.json(),
    fc.jsonValue().map((leases) => JSON.stringify({ version: 1, leases })),
    fc.jsonValue().map((lease) => JSON.stringify({ version: 1, leases: [lease] })),
  );
  fc.assert(fc.property(texts, (text) => {
    try {
      decodeLeases("f", text);
    } catch (error) {
      assert(error instanceof CniError && error.code === 5, String(error));
    }
  }));
  assertThrows(() => decodeLeases("f", ""), CniError, "f is damaged");
  assertThrows(() => decodeLeases("f", '{"version":2,"leases":[]}'), CniError);
});

Deno.test("findLease() and staleLeases() distinguish the interfaces of a container", () => {
  const one = { containerID: "c1", ifname: "eth0", hostEnd: "veth1", address: 1 };
  const two = { ...one, ifname: "net1", address: 2 };
  const leases = { leases: [one, two] };
  assertEquals(findLease(leases, { containerID: "c1", ifname: "net1" }), two);
  assertEquals(findLease(leases, { containerID: "c1", ifname: "net2" }), undefined);
  assertEquals(staleLeases(leases, [{ containerID: "c1", ifname: "net1" }]), [one]);
});
