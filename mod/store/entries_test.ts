import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { encodeLeaseValue, encodeNodeRecord, PERMANENT } from "../lease/mod.ts";
import { Entries } from "./entries.ts";
import type { KvEntry } from "./kv/kv.ts";
import { ip, net, record, vxlan } from "./testing/store_lab.ts";

const PREFIX = "/flannel/network";
const VALUE = encodeLeaseValue(vxlan("192.0.2.1"), "v0.7");

function entry(key: string, value = VALUE, ttl?: number): KvEntry {
  return { key, value, revision: "7", ttl };
}

/** Entries whose warnings are kept. */
function quiet(maxWarned?: number): { entries: Entries; warnings: string[] } {
  const warnings: string[] = [];
  const warn = (message: string) => warnings.push(message);
  const entries = new Entries(PREFIX, maxWarned === undefined ? { warn } : { warn, maxWarned });
  return { entries, warnings };
}

Deno.test("Entries.parseKey() distinguishes config, leases, agents and directories", () => {
  const entries = new Entries(PREFIX);
  assertEquals(entries.parseKey(`${PREFIX}/config`), { type: "config" });
  assertEquals(entries.parseKey(`${PREFIX}/subnets/10.20.93.0-24`), {
    type: "lease",
    subnet: net("10.20.93.0/24"),
  });
  assertEquals(entries.parseKey(`${PREFIX}/agents/192.0.2.1`), {
    type: "agent",
    publicIP: ip("192.0.2.1"),
  });
  assertEquals(entries.parseKey(`${PREFIX}/subnets`), { type: "directory" });
  assertEquals(entries.parseKey(`${PREFIX}/agents`), { type: "directory" });
});

Deno.test("Entries.parseKey() names for a foreign key what one warning covers", () => {
  const entries = new Entries(PREFIX);
  for (
    const [key, scope] of [
      ["notes", "notes"],
      ["config/deep", "config"],
      ["subnets/foo", "subnets/foo"],
      ["subnets/10.20.93.0-24/deep/er", "subnets/10.20.93.0-24"],
      ["subnets/10.20.93.0-24&fd00:1::-56", "subnets/10.20.93.0-24&fd00:1::-56"],
      ["subnets/10.20.93.0-32", "subnets/10.20.93.0-32"],
      ["subnets/", "subnets/"],
      ["agents/192.0.2.300", "agents/192.0.2.300"],
      ["subnetsx", "subnetsx"],
    ] as const
  ) {
    assertEquals(
      entries.parseKey(`${PREFIX}/${key}`),
      { type: "foreign", scope: `${PREFIX}/${scope}` },
      key,
    );
  }
});

Deno.test("Entries.parseKey() knows nothing of keys that are not below the prefix", () => {
  const entries = new Entries(PREFIX);
  for (
    const key of [
      "",
      "/",
      "/config",
      PREFIX,
      `${PREFIX}/`,
      `${PREFIX}2/config`,
      "/flannel/networ/config",
      "/flannel/network_/subnets/10.20.93.0-24",
    ]
  ) assertEquals(entries.parseKey(key), undefined, key);
  assertEquals(new Entries("").parseKey("/config"), { type: "config" });
});

Deno.test("Entries.leaseKey() and agentKey() write what parseKey() reads", () => {
  const entries = new Entries(PREFIX);
  fc.assert(fc.property(
    fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    fc.integer({ min: 0, max: 31 }),
    (address, length) => {
      const subnet = net(`${address >>> 24}.${(address >>> 16) & 255}.0.0/${length}`);
      assertEquals(entries.parseKey(entries.leaseKey(subnet)), { type: "lease", subnet });
      assertEquals(entries.parseKey(entries.agentKey(address)), {
        type: "agent",
        publicIP: address,
      });
    },
  ));
  assertEquals(entries.configKey, `${PREFIX}/config`);
});

Deno.test("Entries.parseKey() takes another directory for another network's", () => {
  const entries = new Entries(PREFIX);
  for (const key of ["blue/config", "blue/subnets/10.20.93.0-24", "subnetsx/10.20.93.0-24"]) {
    assertEquals(entries.parseKey(`${PREFIX}/${key}`), { type: "elsewhere" }, key);
  }
});

Deno.test("Entries.parseKey() takes any text", () => {
  const entries = new Entries(PREFIX);
  fc.assert(fc.property(fc.string(), (text) => {
    for (
      const key of [text, PREFIX + text, `${PREFIX}/subnets/${text}`, `${PREFIX}/agents/${text}`]
    ) {
      const what = entries.parseKey(key);
      if (what?.type === "foreign") assert(key.startsWith(what.scope));
    }
  }));
});

Deno.test("Entries.put() makes the change that an entry is", () => {
  const { entries, warnings } = quiet();
  assertEquals(entries.put(entry(`${PREFIX}/config`, "{}")), {
    type: "config",
    config: { text: "{}" },
  });
  const lease = { subnet: net("10.20.93.0/24"), attributes: vxlan("192.0.2.1"), revision: "7" };
  const key = `${PREFIX}/subnets/10.20.93.0-24`;
  assertEquals(entries.put(entry(key)), { type: "lease", lease });
  assertEquals(entries.put(entry(key, VALUE, PERMANENT)), {
    type: "lease",
    lease: { ...lease, ttl: PERMANENT },
  });
  assertEquals(
    entries.put(entry(`${PREFIX}/agents/192.0.2.1`, encodeNodeRecord(record("host1")))),
    {
      type: "agent",
      agent: { publicIP: ip("192.0.2.1"), record: record("host1"), revision: "7" },
    },
  );
  assertEquals(entries.put(entry("/elsewhere")), undefined);
  assertEquals(entries.put(entry(`${PREFIX}/subnets`)), undefined);
  assertEquals(warnings, []);
});

Deno.test("Entries.put() takes an entry that cannot be read for removed, and warns once", () => {
  const { entries, warnings } = quiet();
  const lease = `${PREFIX}/subnets/10.20.93.0-24`;
  const agent = `${PREFIX}/agents/192.0.2.1`;
  for (let i = 0; i < 3; i++) {
    assertEquals(entries.put(entry(lease, "hello")), {
      type: "lease-removed",
      subnet: net("10.20.93.0/24"),
    });
    assertEquals(entries.put(entry(agent, "hello")), {
      type: "agent-removed",
      publicIP: ip("192.0.2.1"),
    });
    assertEquals(entries.put(entry(`${PREFIX}/blue`)), undefined);
  }
  assertEquals(warnings, [
    `Ignoring ${lease}: it holds a value that is not JSON`,
    `Ignoring ${agent}: it holds a value that is not a node record`,
    `Ignoring ${PREFIX}/blue: it is not a key of this network`,
  ]);
  assertEquals(entries.put(entry(`${PREFIX}/blue/config`)), undefined);
  assertEquals(warnings.length, 3, "a directory may hold another network");
});

Deno.test("Entries.put() warns again of an entry that was corrected or removed meanwhile", () => {
  const { entries, warnings } = quiet();
  const key = `${PREFIX}/subnets/10.20.93.0-24`;
  entries.put(entry(key, "hello"));
  entries.put(entry(key));
  entries.put(entry(key, "hello"));
  assertEquals(warnings.length, 2);
  entries.remove(key, "");
  entries.put(entry(key, "hello"));
  assertEquals(warnings.length, 3);
});

Deno.test("Entries.put() stops warning when there are too many to name", () => {
  const { entries, warnings } = quiet(3);
  for (let i = 0; i < 10; i++) entries.put(entry(`${PREFIX}/subnets/foo${i}`));
  assertEquals(warnings.length, 4);
  assertEquals(
    warnings.at(-1),
    `Ignoring more than 3 entries below ${PREFIX}; the others go unnamed`,
  );
});

Deno.test("Entries.remove() makes the change that a removal is", () => {
  const { entries, warnings } = quiet();
  assertEquals(entries.remove(`${PREFIX}/config`, "100: gone"), {
    type: "config",
    config: { missing: "100: gone" },
  });
  assertEquals(entries.remove(`${PREFIX}/subnets/10.20.93.0-24`, ""), {
    type: "lease-removed",
    subnet: net("10.20.93.0/24"),
  });
  assertEquals(entries.remove(`${PREFIX}/agents/192.0.2.1`, ""), {
    type: "agent-removed",
    publicIP: ip("192.0.2.1"),
  });
  for (const key of ["/elsewhere", `${PREFIX}/subnets`, `${PREFIX}/subnets/foo`, PREFIX]) {
    assertEquals(entries.remove(key, ""), undefined);
  }
  assertEquals(warnings, []);
});

Deno.test("Entries.put() leaves out what holds no value, and warns where one belongs", () => {
  const { entries, warnings } = quiet();
  for (const key of ["config", "subnets/10.20.93.0-24", "agents/192.0.2.1", "subnets", "blue"]) {
    const directory = { ...entry(`${PREFIX}/${key}`, ""), problem: "is a directory" };
    assertEquals(entries.put(directory), undefined, key);
  }
  assertEquals(
    warnings,
    ["config", "subnets/10.20.93.0-24", "agents/192.0.2.1"].map((key) =>
      `Ignoring ${PREFIX}/${key}: it is a directory`
    ),
  );
});

Deno.test("Entries.snapshot() holds the entries that can be read", () => {
  const { entries, warnings } = quiet();
  const missing = (key: string) => `100: Key not found (${key}) [7]`;
  assertEquals(entries.snapshot({ entries: [], cursor: "c@1", missing }), {
    config: { missing: `100: Key not found (${PREFIX}/config) [7]` },
    leases: [],
    agents: [],
    cursor: "c@1",
  });
  const raw = [
    entry(`${PREFIX}/subnets/10.20.93.0-24`, VALUE, 60),
    entry(`${PREFIX}/subnets/10.20.94.0-24`, "hello"),
    entry(`${PREFIX}/agents/192.0.2.1`, encodeNodeRecord(record("host1"))),
    entry(`${PREFIX}/config`, "{}"),
    entry("/elsewhere"),
  ];
  assertEquals(entries.snapshot({ entries: raw, cursor: "c@2", missing }), {
    config: { text: "{}" },
    leases: [
      { subnet: net("10.20.93.0/24"), attributes: vxlan("192.0.2.1"), ttl: 60, revision: "7" },
    ],
    agents: [{ publicIP: ip("192.0.2.1"), record: record("host1"), revision: "7" }],
    cursor: "c@2",
  });
  assertEquals(warnings.length, 1);
});
