import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { StoreFollower } from "../../../tests/lab/store_follower.ts";
import { StoreError, StoreUnavailableError } from "../errors.ts";
import type { EtcdOptions } from "../etcd/options.ts";
import { net, type StoreLab, type StoreLabOptions, vxlan, withoutTtl } from "./store_lab.ts";

const PREFIX = "/flannel/network";
const PASSWORD = "S3cret/+ é";

/** Cases of TLS and of authentication, each with the server it needs. */
export const accessCases: readonly (readonly [
  name: string,
  options: StoreLabOptions,
  run: (lab: StoreLab) => Promise<void>,
])[] = [
  ["a store with TLS works with the CA alone", { tls: "server" }, async (lab) => {
    const tls: Partial<EtcdOptions> = { caFile: lab.certificates!.ca };
    await works(lab, { endpoints: [lab.endpoint], ...tls });
    await works(lab, { endpoints: [lab.endpoint.replace("127.0.0.1", "localhost")], ...tls });
  }],

  ["a store with TLS is refused where its CA is not the given one", { tls: "server" }, async (
    lab,
  ) => {
    await using store = await lab.open(PREFIX, { caFile: lab.certificates!.otherCa });
    const { message } = await assertRejects(() => store.snapshot(), StoreUnavailableError);
    assertStringIncludes(message, "-etcd-cafile");
    assertStringIncludes(message, new URL(lab.endpoint).host);
  }],

  ["a store that asks for client certificates works with one", { tls: "client" }, async (lab) => {
    const { ca, client } = lab.certificates!;
    await works(lab, { caFile: ca, certFile: client.cert, keyFile: client.key });
  }],

  ["a store that asks for client certificates is not there without", { tls: "client" }, async (
    lab,
  ) => {
    await using store = await lab.open(PREFIX, { caFile: lab.certificates!.ca });
    const { message } = await assertRejects(() => store.snapshot(), StoreUnavailableError);
    assertStringIncludes(message, "-etcd-certfile");
  }],

  ["a store with authentication works with the right password", { password: PASSWORD }, async (
    lab,
  ) => {
    await works(lab, { username: "root", password: PASSWORD });
  }],

  ["a store with authentication refuses a wrong password and a missing one", {
    password: PASSWORD,
  }, async (lab) => {
    const secret = "Wr0ng-secret";
    for (const credentials of [{ username: "root", password: secret }, {}]) {
      await using store = await lab.open(PREFIX, credentials);
      const error = await assertRejects(() => store.snapshot(), StoreError);
      assert(!(error instanceof StoreUnavailableError), "refused, not unavailable");
      for (const text of [store.name, Deno.inspect(error, { depth: 9 }), Deno.inspect(store)]) {
        assert(!text.includes(secret), text);
        assert(!text.includes(btoa(`root:${secret}`)), text);
      }
    }
  }],
];

/** Writes, reads and watches. */
async function works(lab: StoreLab, options: Partial<EtcdOptions>): Promise<void> {
  await using store = await lab.open(PREFIX, options);
  await using follower = await StoreFollower.start(store);
  const lease = await store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
  await follower.until(({ leases }) => leases.size === 1);
  assertEquals(withoutTtl(await store.lease(lease.subnet)), withoutTtl(lease));
  await store.removeLease(lease);
}
