import { assertEquals } from "@std/assert";
import type { Answer } from "./client.ts";
import { missingText, readEvent, toEntry } from "./event.ts";

const LEASE = "/flannel/network/subnets/10.20.93.0-24";
const NODE = {
  key: LEASE,
  value: '{"PublicIP":"192.0.2.1"}',
  expiration: "2026-11-24T13:58:53.945958666Z",
  ttl: 86400,
  modifiedIndex: 12,
  createdIndex: 12,
};

const NETWORK = { prefix: "/flannel/network" };
const NAMES = { prefix: "/flannel/network", leaf: "config" };

/** Reads an event with this action and node. */
function read(action: string, node: Partial<Answer["node"]>, range = NETWORK) {
  return readEvent({ action, node: { key: LEASE, modifiedIndex: 12, ...node } }, range);
}

function deleted(key: string) {
  const missing = `100: Key not found (${key}) [12]`;
  return { type: "change", change: { type: "delete", key, missing } };
}

Deno.test("readEvent() takes every action that brings a value for a put", () => {
  for (const action of ["set", "create", "update", "compareAndSwap", "somethingNew"]) {
    const { value } = NODE;
    assertEquals(read(action, NODE), {
      type: "change",
      change: { type: "put", entry: { key: LEASE, value, ttl: 86400, revision: "12" } },
    });
  }
});

Deno.test("readEvent() takes every removal of a key for a deletion", () => {
  for (const action of ["delete", "expire", "compareAndDelete"]) {
    assertEquals(read(action, {}), deleted(LEASE));
  }
});

Deno.test("readEvent() finds a directory removed: of the range, in it, or above it", () => {
  for (
    const key of [
      "/flannel",
      "/flannel/network",
      "/flannel/network/subnets",
      "/flannel/network/agents",
    ]
  ) {
    for (const [action, how] of [["delete", "deleted"], ["expire", "expired"]] as const) {
      const gone = { type: "directory-gone", reason: `${key} was ${how}` };
      assertEquals(read(action, { key, dir: true }), gone);
      // An etcd that names the directory in the previous node only.
      const node = { key, modifiedIndex: 12 };
      assertEquals(readEvent({ action, node, prevNode: { dir: true } }, NETWORK), gone);
    }
  }
});

Deno.test("readEvent() takes a child's removal for that of its leaf", () => {
  assertEquals(
    read("delete", { key: "/flannel/network/blue", dir: true }, NAMES),
    deleted("/flannel/network/blue/config"),
  );
  for (const key of ["/flannel/network/blue/subnets", "/flannel/network/blue/config/x"]) {
    assertEquals(read("delete", { key, dir: true }, NAMES), { type: "nothing" });
  }
  assertEquals(read("set", NODE, NAMES), { type: "nothing" });
});

Deno.test("readEvent() finds nothing in keys outside of the range", () => {
  for (const action of ["set", "delete"]) {
    for (
      const key of ["/flannel/network2", "/flannel/network2/config", "/flannel/net", "/elsewhere"]
    ) assertEquals(read(action, { key, value: "x" }), { type: "nothing" }, `${action} ${key}`);
  }
});

Deno.test("toEntry() takes an entry without expiration for permanent, one about to go not", () => {
  const { ttl: _ttl, ...about } = NODE;
  const { expiration: _expiration, ...permanent } = about;
  assertEquals(toEntry(NODE).ttl, 86400);
  assertEquals(toEntry(about).ttl, 1);
  assertEquals(toEntry(permanent).ttl, 0);
  assertEquals(toEntry({ key: "/a", dir: true, modifiedIndex: 1 }).problem, "is a directory");
});

Deno.test("missingText() speaks as etcd does", () => {
  assertEquals(missingText("/atomic.io", 97), "100: Key not found (/atomic.io) [97]");
});
