import { assertEquals, assertThrows } from "@std/assert";
import { type Lockfile, packageName, reduceLockfile } from "./lockfile.ts";

const LOCK: Lockfile = {
  version: "5",
  specifiers: {
    "npm:app@1": "1.2.0",
    "npm:@scope/peered@2": "2.0.0_app@1.2.0",
    "npm:fast-check@4": "4.0.0",
  },
  npm: {
    "@scope/peered@2.0.0_app@1.2.0": { integrity: "p" },
    "@types/node@26.0.0": { integrity: "t", dependencies: ["undici-types"] },
    "app@1.2.0": { integrity: "a", dependencies: ["@types/node", "dep@1.0.0"], bin: true },
    "dep@1.0.0": { integrity: "d1", dependencies: ["leaf"], optionalDependencies: ["maybe"] },
    "dep@2.0.0": { integrity: "d2" },
    "fast-check@4.0.0": { integrity: "f", dependencies: ["dep@2.0.0"] },
    "leaf@3.0.0": { integrity: "l", dependencies: ["app"] },
    "maybe@1.0.0": { integrity: "m" },
    "undici-types@8.0.0": { integrity: "u" },
  },
  workspace: { dependencies: ["npm:app@1", "npm:fast-check@4"] },
};

Deno.test("reduceLockfile() keeps what a request needs, with its integrity", () => {
  assertEquals(reduceLockfile(LOCK, ["npm:app@1", "npm:app@1"]), {
    version: "5",
    specifiers: { "npm:app@1": "1.2.0" },
    npm: {
      "app@1.2.0": { integrity: "a", dependencies: ["dep@1.0.0"], bin: true },
      "dep@1.0.0": { integrity: "d1", dependencies: ["leaf"], optionalDependencies: ["maybe"] },
      "leaf@3.0.0": { integrity: "l", dependencies: ["app"] },
      "maybe@1.0.0": { integrity: "m" },
    },
    workspace: { dependencies: ["npm:app@1"] },
  });
});

Deno.test("reduceLockfile() follows versions with peers", () => {
  assertEquals(Object.keys(reduceLockfile(LOCK, ["npm:@scope/peered@2"]).npm!), [
    "@scope/peered@2.0.0_app@1.2.0",
  ]);
});

Deno.test("reduceLockfile() keeps nothing for nothing", () => {
  assertEquals(reduceLockfile(LOCK, []), {
    version: "5",
    specifiers: {},
    npm: {},
    workspace: { dependencies: [] },
  });
});

Deno.test("reduceLockfile() fails rather than let a package go unpinned", () => {
  assertThrows(() => reduceLockfile(LOCK, ["npm:gone@1"]), Error, "deno.lock lacks npm:gone@1");
  const { "leaf@3.0.0": _, ...rest } = LOCK.npm!;
  assertThrows(
    () => reduceLockfile({ ...LOCK, npm: rest }, ["npm:app@1"]),
    Error,
    "deno.lock holds 0 packages leaf",
  );
  assertThrows(() => reduceLockfile({ version: "4" }, []), Error, "version 4");
});

Deno.test("packageName() takes the version off", () => {
  assertEquals(packageName("@grpc/grpc-js@1.12.6"), "@grpc/grpc-js");
  assertEquals(packageName("@grpc/grpc-js"), "@grpc/grpc-js");
  assertEquals(packageName("etcd3@1.1.2_x@1.0.0"), "etcd3");
  assertEquals(packageName("etcd3"), "etcd3");
});
