import { assertEquals } from "@std/assert";
import { Entries } from "../../entries.ts";
import type { Answer } from "./client.ts";
import { missingText, rawEntry, readEvent } from "./event.ts";
import { net } from "../../testing/store_lab.ts";

const LEASE = "/flannel/network/subnets/10.20.93.0-24";
const NODE = {
  key: LEASE,
  value: '{"PublicIP":"192.0.2.1"}',
  expiration: "2026-11-24T13:58:53.945958666Z",
  ttl: 86400,
  modifiedIndex: 12,
  createdIndex: 12,
};

function entries(warnings: string[] = []): Entries {
  return new Entries("/flannel/network", { warn: (message) => warnings.push(message) });
}

/** What an event with this action and node means. */
function meaning(action: string, node: Partial<Answer["node"]>, warnings?: string[]) {
  return readEvent(
    { action, node: { key: LEASE, modifiedIndex: 12, ...node } },
    entries(warnings),
  );
}

Deno.test("readEvent() takes every action that brings a value for one", () => {
  for (const action of ["set", "create", "update", "compareAndSwap", "somethingNew"]) {
    const event = meaning(action, NODE);
    assertEquals(event, {
      type: "change",
      change: {
        type: "lease",
        lease: {
          subnet: net("10.20.93.0/24"),
          attributes: { publicIP: 0xc0000201 },
          ttl: 86400,
          revision: "12",
        },
      },
    });
  }
});

Deno.test("readEvent() takes every removal of a key for one", () => {
  for (const action of ["delete", "expire", "compareAndDelete"]) {
    assertEquals(meaning(action, {}), {
      type: "change",
      change: { type: "lease-removed", subnet: net("10.20.93.0/24") },
    });
    assertEquals(meaning(action, { key: "/flannel/network/config" }), {
      type: "change",
      change: {
        type: "config",
        config: { missing: "100: Key not found (/flannel/network/config) [12]" },
      },
    });
  }
});

Deno.test("readEvent() sees the directory, one in it that counts, or one above it go", () => {
  for (
    const key of [
      "/flannel",
      "/flannel/network",
      "/flannel/network/subnets",
      "/flannel/network/agents",
    ]
  ) {
    assertEquals(meaning("delete", { key, dir: true }), {
      type: "directory-gone",
      reason: `${key} was deleted`,
    });
    assertEquals(meaning("expire", { key, dir: true }), {
      type: "directory-gone",
      reason: `${key} was expired`,
    });
  }
});

Deno.test("readEvent() finds nothing in what does not concern the network", () => {
  for (const action of ["set", "delete"]) {
    for (
      const key of [
        "/flannel/network2",
        "/flannel/network2/config",
        "/flannel/net",
        "/flan",
        "/elsewhere",
        "/flannel/network/blue",
        "/flannel/network/subnets/foo",
      ]
    ) {
      assertEquals(meaning(action, { key, value: "x" }), { type: "nothing" }, `${action} ${key}`);
    }
  }
  for (const key of ["/flannel", "/flannel/network", "/flannel/network/subnets"]) {
    assertEquals(meaning("create", { key, dir: true }), { type: "nothing" });
  }
});

Deno.test("readEvent() warns of a directory where a value belongs", () => {
  const warnings: string[] = [];
  assertEquals(meaning("create", { dir: true }, warnings), { type: "nothing" });
  assertEquals(warnings, [`Ignoring ${LEASE}: it is a directory`]);
});

Deno.test("rawEntry() takes an entry without expiration for permanent, one about to go not", () => {
  const { ttl: _ttl, ...about } = NODE;
  const { expiration: _expiration, ...permanent } = about;
  assertEquals(rawEntry(NODE).ttl, 86400);
  assertEquals(rawEntry(about).ttl, 1);
  assertEquals(rawEntry(permanent).ttl, 0);
});

Deno.test("missingText() speaks as etcd does", () => {
  assertEquals(missingText("/atomic.io", 97), "100: Key not found (/atomic.io) [97]");
});
