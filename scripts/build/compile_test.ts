import { assertEquals, assertThrows } from "@std/assert";
import { embeddedPaths, findStowaway } from "./compile.ts";

const LOG = `Compile file:///stage/main.ts to flanneld

Embedded Files

flanneld
├── main.ts (131B)
├─┬ mod (10KB)
│ ├── config/* (10KB)
│ └── version.ts (1KB)
└── npm/* (7.8MB - 7.7MB unique)

Files: 7.81MB
`;

const FILES = ["main.ts", "mod/config/mod.ts", "mod/version.ts", "npm/etcd3/proto/rpc.proto"];

Deno.test("embeddedPaths() reads the tree of deno compile", () => {
  assertEquals(embeddedPaths(LOG), [
    "/main.ts",
    "/mod",
    "/mod/config/*",
    "/mod/version.ts",
    "/npm/*",
  ]);
  assertThrows(() => embeddedPaths("Compile file:///stage/main.ts"), Error, "no embedded files");
});

Deno.test("findStowaway() finds what was not staged", () => {
  assertEquals(findStowaway(LOG, FILES), undefined);
  assertEquals(findStowaway(LOG.replace("── main.ts", "── main_test.ts"), FILES), "/main_test.ts");
  assertEquals(findStowaway(LOG, FILES.slice(0, 3)), "/npm/*");
  assertEquals(
    findStowaway(LOG.replace("npm/*", ".deno_compile_node_modules/*"), FILES),
    "/.deno_compile_node_modules/*",
  );
  // A directory of which the name alone begins like a staged file's.
  assertEquals(findStowaway(LOG.replace("config/*", "conf/*"), FILES), "/mod/conf/*");
});
