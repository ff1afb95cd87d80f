import { assertEquals, assertThrows } from "@std/assert";
import { embeddedPaths, findStowaway } from "./compile.ts";

const LOG = `Compile file:///stage/main.ts to flanneld

Embedded Files

flanneld
├─┬ .deno_compile_node_modules (7.8MB - 7.7MB unique)
│ └─┬ localhost (7.8MB - 7.7MB unique)
│   ├─┬ @grpc (2MB - 1.99MB unique)
│   │ ├── grpc-js/* (1.89MB - 1.88MB unique)
│   │ └── node/* (120.03KB - 108.89KB unique)
│   └── ip-cidr/4.0.2/* (130.44KB)
├─┬ mod (10KB)
│ └── config/* (10KB)
└── main.ts (131B)

Files: 7.81MB
`;

Deno.test("embeddedPaths() reads the tree of deno compile", () => {
  assertEquals(embeddedPaths(LOG), [
    "/.deno_compile_node_modules",
    "/.deno_compile_node_modules/localhost",
    "/.deno_compile_node_modules/localhost/@grpc",
    "/.deno_compile_node_modules/localhost/@grpc/grpc-js/*",
    "/.deno_compile_node_modules/localhost/@grpc/node/*",
    "/.deno_compile_node_modules/localhost/ip-cidr/4.0.2/*",
    "/mod",
    "/mod/config/*",
    "/main.ts",
  ]);
  assertThrows(() => embeddedPaths("Compile file:///stage/main.ts"), Error, "no embedded files");
});

Deno.test("findStowaway() finds packages left out, and tests", () => {
  assertEquals(findStowaway(LOG, ["fast-check", "@types/node", "cidr", "@grpc/proto"]), undefined);
  assertEquals(
    findStowaway(LOG, ["fast-check", "ip-cidr"]),
    "/.deno_compile_node_modules/localhost/ip-cidr/4.0.2/*",
  );
  assertEquals(
    findStowaway(LOG, ["@grpc/grpc-js"]),
    "/.deno_compile_node_modules/localhost/@grpc/grpc-js/*",
  );
  assertEquals(
    findStowaway(LOG.replace("main.ts (131B)", "main_test.ts (131B)"), []),
    "/main_test.ts",
  );
});
