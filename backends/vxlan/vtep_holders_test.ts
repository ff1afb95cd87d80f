import { assert, assertEquals } from "@std/assert";
import type { Lease } from "../../mod/lease/mod.ts";
import { ip, net } from "../../mod/store/testing/store_lab.ts";
import { fastest } from "../../mod/sys/testing/fastest.ts";
import { VtepHolders } from "./vtep_holders.ts";

const MAC = "0a:00:00:00:00:01";

function lease(subnet: string, publicIP: string): Lease {
  return { subnet: net(subnet), attributes: { publicIP: ip(publicIP) }, revision: "1" };
}

const FIRST = lease("10.20.2.0/24", "192.0.2.2");
const SECOND = lease("10.20.3.0/24", "192.0.2.3");

Deno.test("VtepHolders leaves a MAC to the first host, until its last lease is gone", () => {
  const holders = new VtepHolders();
  const moved = lease("10.20.9.0/24", "192.0.2.2");
  assertEquals(holders.take(MAC, FIRST), undefined);
  assertEquals(holders.take(MAC, moved), undefined);
  assertEquals(holders.take(MAC, SECOND), FIRST.attributes.publicIP);
  assertEquals(holders.release(MAC), []);
  assertEquals(holders.release(MAC), [SECOND]);
  assertEquals(holders.take(MAC, SECOND), undefined);
});

Deno.test("VtepHolders forgets a lease that waits", () => {
  const holders = new VtepHolders();
  holders.take(MAC, FIRST);
  holders.take(MAC, SECOND);
  holders.forget(MAC, SECOND);
  assertEquals(holders.release(MAC), []);
});

Deno.test("VtepHolders.restart() knows the first host again, by itself and by the kernel's FDB", () => {
  const fdb = [{ index: 4, mac: MAC, destination: ip("192.0.2.3"), state: 0x80 }];
  const holders = new VtepHolders();
  holders.restart(fdb);
  assertEquals(holders.take(MAC, FIRST), SECOND.attributes.publicIP);
  assertEquals(holders.take(MAC, SECOND), undefined);
  assertEquals(holders.releaseUnclaimed(), []);
  holders.restart([]);
  assertEquals(holders.take(MAC, FIRST), SECOND.attributes.publicIP);
  // The holder has no lease any more.
  assertEquals(holders.releaseUnclaimed(), [FIRST]);
  assertEquals(holders.take(MAC, FIRST), undefined);
});

Deno.test("VtepHolders is done with any number of leases of one MAC in the time that as many MACs take", () => {
  const leases = Array.from(
    { length: 60_000 },
    (_, i) => lease(`10.${i >>> 8}.${i & 255}.0/24`, `198.18.${i >>> 8}.${i & 255}`),
  );
  const time = (macOf: (i: number) => string) =>
    fastest(3, () => {
      const holders = new VtepHolders();
      for (const [i, one] of leases.entries()) holders.take(macOf(i), one);
      for (const [i, one] of leases.entries()) holders.forget(macOf(i), one);
    });
  const [one, many] = [time(() => MAC), time(String)];
  assert(one < 50 * Math.max(many, 1), `${one} ms, ${many} ms`);
});
