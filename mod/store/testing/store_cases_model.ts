import { assert, assertEquals, assertRejects } from "@std/assert";
import { StoreFollower } from "../../../tests/lab/store_follower.ts";
import { TcpProxy } from "../../../tests/lab/tcp_proxy.ts";
import { PERMANENT } from "../../lease/mod.ts";
import { ConflictError, StoreUnavailableError } from "../errors.ts";
import { type LossyStore, net, type StoreCase, type StoreLab, vxlan } from "./store_lab.ts";

const SUBNET = net("10.20.93.0/24");
const [FIRST, SECOND] = [vxlan("192.0.2.1"), vxlan("192.0.2.2")];

/** Cases that the model of the lease protocol (`tests/model`) relies on besides. */
export const modelCases: readonly StoreCase[] = [
  ["a lease that was removed and created again is not the one that was read", async (
    { lab, prefix },
  ) => {
    await using store = await lab.open(prefix);
    const read = await store.createLease(SUBNET, FIRST, 600);
    await store.removeLease(read);
    const again = await store.createLease(SUBNET, FIRST, 600);
    assert(again.revision !== read.revision);
    await assertRejects(() => store.updateLease(read, FIRST, 600), ConflictError);
    await assertRejects(() => store.removeLease(read), ConflictError);
    assertEquals((await store.lease(SUBNET))?.revision, again.revision);
  }],

  ["a lease that has expired is not renewed, and its subnet is free", async ({ lab, prefix }) => {
    await using store = await lab.open(prefix);
    await using other = await lab.open(prefix);
    await using follower = await StoreFollower.start(other);
    const read = await store.createLease(SUBNET, FIRST, 1);
    await follower.until(({ leases }) => leases.size === 1);
    await follower.until(({ leases }) => leases.size === 0);
    await assertRejects(() => store.updateLease(read, FIRST, 600), ConflictError);
    const taken = await other.createLease(SUBNET, SECOND, 600);
    await assertRejects(() => store.updateLease(read, FIRST, 600), ConflictError);
    assertEquals((await store.lease(SUBNET))?.revision, taken.revision);
  }],
];

/** Cases of replies that are lost, for stores that have any. */
export const lostReplyCases: readonly StoreCase[] = [
  ["createLease() has effect once where its reply is lost", async ({ lab, prefix }) => {
    await using lossy = await openLossy(lab, prefix);
    await using direct = await lab.open(prefix);
    await using follower = await StoreFollower.start(direct);
    // One request in every store: etcd v3 grants a lifetime by another one.
    const { error } = await loseReply(
      lossy,
      () => lossy.store.createLease(SUBNET, FIRST, PERMANENT),
      () => follower.until(({ leases }) => leases.size === 1),
    );
    assertLost(error);
    assertEquals((await lossy.store.lease(SUBNET))?.attributes, FIRST);
    await assertRejects(() => lossy.store.createLease(SUBNET, FIRST, PERMANENT), ConflictError);
    const changes = follower.items.flatMap((item) => item.type === "changes" ? item.changes : []);
    assertEquals(changes.map(({ type }) => type), ["lease"]);
  }],

  ["updateLease() has effect once where its reply is lost", async ({ lab, prefix }) => {
    await using lossy = await openLossy(lab, prefix);
    await using direct = await lab.open(prefix);
    const read = await direct.createLease(SUBNET, FIRST, PERMANENT);
    await using follower = await StoreFollower.start(direct);
    const { error } = await loseReply(
      lossy,
      () => lossy.store.updateLease(read, SECOND, PERMANENT),
      () => follower.until(({ publicIPs }) => publicIPs["10.20.93.0-24"] === "192.0.2.2"),
    );
    assertLost(error);
    await assertRejects(() => lossy.store.updateLease(read, FIRST, PERMANENT), ConflictError);
    const stands = (await lossy.store.lease(SUBNET))!;
    assertEquals(stands.attributes, SECOND);
    await lossy.store.updateLease(stands, FIRST, PERMANENT);
  }],
];

async function openLossy(lab: StoreLab, prefix: string): Promise<LossyStore> {
  if (lab.openLossy !== undefined) return await lab.openLossy(prefix);
  const proxy = new TcpProxy(lab.endpoint);
  const store = await lab.open(prefix, { endpoints: [`http://${proxy.address}`] });
  await store.snapshot();
  return {
    store,
    loseReplies: (on) => proxy.loseReplies(on),
    [Symbol.asyncDispose]: async () => {
      await store[Symbol.asyncDispose]();
      await proxy[Symbol.asyncDispose]();
    },
  };
}

/** Makes a call whose reply is lost. @param effect waits for what the call does */
async function loseReply(
  { store, loseReplies }: LossyStore,
  call: () => Promise<unknown>,
  effect: () => Promise<void>,
): Promise<{ readonly error: unknown }> {
  loseReplies(true);
  const made = call().then(() => ({ error: undefined }), (error: unknown) => ({ error }));
  await effect();
  loseReplies(false);
  store.reconnect();
  return await made;
}

/** The call rejects as unanswered or, where the adapter repeats it, as a lost race. */
function assertLost(error: unknown): void {
  assert(
    error instanceof StoreUnavailableError || error instanceof ConflictError,
    `${error}`,
  );
}
