import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { brokenRules, crowdedFolders, findCycles, layerOf, LAYERS } from "./import_rules.ts";
import type { ModuleGraph } from "./module_graph.ts";

/** `a` imports `b`; a type only where the name starts with `type `. */
function graph(imports: Record<string, readonly string[]>): ModuleGraph {
  return new Map(
    Object.entries(imports).map(([path, targets]) => [path, {
      path,
      imports: targets.map((target) => ({
        to: target.replace(/^type /, ""),
        typeOnly: target.startsWith("type "),
      })),
      npm: [],
      specifiers: [],
    }]),
  );
}

Deno.test("brokenRules() lets imports point down", () => {
  assertEquals(
    brokenRules(graph({
      "main.ts": ["mod/cli/mod.ts"],
      "mod/cli/run.ts": ["mod/agent/mod.ts", "mod/observe/mod.ts"],
      "mod/agent/core/agent.ts": [
        "backends/registry.ts",
        "mod/store/mod.ts",
        "mod/agent/core/options.ts",
      ],
      "backends/vxlan/vxlan.ts": ["mod/sys/mod.ts", "backends/backend.ts"],
      "mod/sys/netlink/wire/types.ts": ["type mod/ip/mod.ts"],
    })),
    [],
  );
});

Deno.test("brokenRules() names the import that points up, types included", () => {
  assertEquals(
    brokenRules(graph({
      "mod/sys/netlink/wire/types.ts": ["mod/lease/mod.ts"],
      "mod/host/find.ts": ["type mod/agent/core/options.ts"],
      "backends/vxlan/vxlan.ts": ["mod/store/mod.ts"],
      "mod/subnet/acquire.ts": ["mod/sys/mod.ts"],
      "mod/ip/prefix.ts": ["elsewhere/x.ts"],
    })),
    [
      "backends/vxlan/vxlan.ts imports mod/store/mod.ts: backends may not know mod/store",
      "mod/host/find.ts imports a type from mod/agent/core/options.ts: mod/host may not know mod/agent",
      "mod/ip/prefix.ts imports elsewhere/x.ts: mod/ip may not know it",
      "mod/subnet/acquire.ts imports mod/sys/mod.ts: mod/subnet may not know mod/sys",
      "mod/sys/netlink/wire/types.ts imports mod/lease/mod.ts: mod/sys may not know mod/lease",
    ],
  );
});

Deno.test("brokenRules() keeps test files out of what ships, and lets tests import anything", () => {
  assertEquals(
    brokenRules(graph({
      "mod/store/etcd.ts": ["mod/store/testing/store_cases.ts", "tests/lab/etcd/etcd.ts"],
      "mod/sys/sys_test.ts": ["mod/agent/mod.ts", "tests/lab/lab.ts"],
    })),
    [
      "mod/store/etcd.ts imports mod/store/testing/store_cases.ts, which only tests may",
      "mod/store/etcd.ts imports tests/lab/etcd/etcd.ts, which only tests may",
    ],
  );
});

Deno.test("brokenRules() wants every file to belong somewhere", () => {
  assertEquals(brokenRules(graph({ "mod/new/x.ts": [] })), [
    "mod/new/x.ts belongs to no layer (scripts/checks/import_rules.ts lists them)",
  ]);
  assertEquals(layerOf("backends/backend.ts"), "backends");
  assertEquals(layerOf("mod/ipsec/x.ts"), undefined);
});

Deno.test("LAYERS keep the packets that doctor injects out of the agent and its sockets", () => {
  for (const layer of ["mod/agent", "mod/server", "mod/observe", "mod/probe", "backends"]) {
    assertEquals(LAYERS.get(layer)?.includes("mod/doctor"), false, layer);
  }
});

Deno.test("LAYERS itself allows no circle", () => {
  assertEquals(findCycles(graph(Object.fromEntries(LAYERS))), []);
});

Deno.test("findCycles() gives the shortest circle of each group", () => {
  assertEquals(
    findCycles(graph({
      "a": ["b", "c"],
      "b": ["c"],
      "c": ["a"],
      "d": ["a", "d"],
      "e": ["f"],
      "f": ["g"],
      "g": ["e"],
    })),
    [["a", "c", "a"], ["d", "d"], ["e", "f", "g", "e"]],
  );
});

Deno.test("findCycles() counts imports of types", () => {
  assertEquals(findCycles(graph({ "a": ["type b"], "b": ["a"] })), [["a", "b", "a"]]);
});

Deno.test("findCycles() finds one exactly where a module can reach itself", () => {
  const edges = fc.array(fc.tuple(fc.nat(6), fc.nat(6)), { maxLength: 12 });
  fc.assert(
    fc.property(edges, (edges) => {
      // Oracle: the transitive closure by Warshall.
      const reach = Array.from({ length: 7 }, () => Array<boolean>(7).fill(false));
      for (const [from, to] of edges) reach[from]![to] = true;
      for (let k = 0; k < 7; k++) {
        for (let i = 0; i < 7; i++) {
          for (let j = 0; j < 7; j++) reach[i]![j] ||= reach[i]![k]! && reach[k]![j]!;
        }
      }
      const imports: Record<string, string[]> = {};
      for (const [from, to] of edges) (imports[`m${from}`] ??= []).push(`m${to}`);
      const cycles = findCycles(graph(imports));
      assertEquals(cycles.length > 0, reach.some((row, i) => row[i]));
      for (const cycle of cycles) {
        assertEquals(cycle[0], cycle.at(-1));
        for (let i = 1; i < cycle.length; i++) {
          assertEquals(imports[cycle[i - 1]!]!.includes(cycle[i]!), true);
        }
      }
    }),
  );
});

Deno.test("crowdedFolders() names a folder with more than 25 files beside each other", () => {
  const files = Array.from({ length: 25 }, (_, i) => `mod/a/${i}.ts`);
  assertEquals(crowdedFolders([...files, "mod/a/b/x.ts"]), []);
  assertEquals(crowdedFolders([...files, "mod/a/x.md"]), [
    "mod/a has 26 files: group them in folders of at most 25",
  ]);
});
