import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import type { Lockfile } from "../checks/lockfile.ts";
import { projectRoot } from "../checks/module_graph.ts";
import { type Bom, type BomSubject, makeBom } from "./sbom.ts";

const lock = JSON.parse(await Deno.readTextFile(`${projectRoot()}/deno.lock`)) as Lockfile;

const SUBJECT: BomSubject = {
  version: "1.2.3",
  sha256: "ab".repeat(32),
  lock,
  packages: [
    { name: "etcd3", version: "1.1.2", license: "MIT" },
    { name: "@grpc/grpc-js", version: "1.12.6", license: "Apache-2.0" },
  ],
  crates: [{ name: "url", version: "2.5.4" }, { name: "ash", version: "0.38.0+1.3.281" }],
  libraries: [{
    name: "libc6",
    version: "2.41-12+deb13u4",
    license: "LGPL-2.1-or-later",
  }],
  runtime: { version: "2.4.2", sha256: "cd".repeat(32) },
  sourceDateEpoch: 1_700_000_000,
};

const BODY = ["metadata", "components", "dependencies"];

/** Rules of CycloneDX 1.5's JSON schema (bom-1.5.schema.json) for flanneld's bill of materials. */
function assertSchema(bom: Bom): void {
  const only = (value: object, ...keys: string[]) => {
    for (const key of Object.keys(value)) assert(keys.includes(key), `unexpected ${key}`);
  };
  only(bom, ...["bomFormat", "specVersion", "serialNumber", "version"], ...BODY);
  assertEquals(bom.bomFormat, "CycloneDX");
  assertEquals(bom.specVersion, "1.5");
  assertMatch(
    bom.serialNumber,
    /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/,
  );
  assert(Number.isInteger(bom.version) && bom.version >= 1);
  only(bom.metadata, "timestamp", "component");
  assertMatch(bom.metadata.timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  const refs = new Set<string>();
  for (const component of [bom.metadata.component, ...bom.components]) {
    only(component, ...[
      "type",
      "bom-ref",
      "name",
      "group",
      "version",
      "purl",
      "hashes",
      "licenses",
    ]);
    for (const choice of component.licenses ?? []) {
      if ("expression" in choice) assertMatch(choice.expression, / (AND|OR|WITH) /);
      else assertMatch(choice.license.id, /^[A-Za-z0-9.+-]+$/);
    }
    assert(["application", "library", "platform"].includes(component.type));
    assert(component.name.length > 0 && !component.name.startsWith("@"));
    assertMatch(component.version, /^\d+\.\d+/);
    assertMatch(
      component.purl!,
      /^pkg:(npm|generic|github|cargo|deb)\/(%40[\w.-]+\/)?[\w.\/-]+@v?([\w.-]|%2B)+(\?arch=\w+)?$/,
    );
    assert(!refs.has(component["bom-ref"]), component["bom-ref"]);
    refs.add(component["bom-ref"]);
    for (const { alg, content } of component.hashes ?? []) {
      assertMatch(content, alg === "SHA-256" ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{128}$/);
    }
  }
  const described = bom.dependencies.map(({ ref }) => ref);
  assertEquals(new Set(described), refs);
  assertEquals(described.length, refs.size);
  for (const { dependsOn } of bom.dependencies) {
    assertEquals(new Set(dependsOn).size, dependsOn.length);
    for (const ref of dependsOn) assert(refs.has(ref), ref);
  }
}

Deno.test("makeBom() keeps to CycloneDX 1.5, with all packages of the lock file and with none", () => {
  assertSchema(makeBom(SUBJECT));
  assertSchema(makeBom({ ...SUBJECT, packages: [], crates: [] }));
  const packages = Object.keys(lock.npm!).map((id) => {
    const [, name, version] = /^(.+)@([^@_]+)/.exec(id)!;
    return { name: name!, version: version!, license: "(MIT OR Apache-2.0)" };
  });
  assertSchema(makeBom({ ...SUBJECT, packages }));
});

Deno.test("makeBom() gives each package the registry's checksum, its license, and its dependents", () => {
  const bom = makeBom(SUBJECT);
  const grpc = bom.components.find(({ name }) => name === "grpc-js")!;
  assertEquals(grpc.group, "@grpc");
  assertEquals(grpc.purl, "pkg:npm/%40grpc/grpc-js@1.12.6");
  const integrity = lock.npm!["@grpc/grpc-js@1.12.6"]!.integrity!;
  const bytes = Uint8Array.from(atob(integrity.slice("sha512-".length)), (c) => c.charCodeAt(0));
  assertEquals(
    grpc.hashes![0]!.content,
    [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(""),
  );
  const etcd3 = bom.dependencies.find(({ ref }) => ref === "pkg:npm/etcd3@1.1.2")!;
  assertEquals(etcd3.dependsOn, ["pkg:npm/%40grpc/grpc-js@1.12.6"]);
  assertEquals(grpc.licenses, [{ license: { id: "Apache-2.0" } }]);
  const libc = bom.components.find(({ name }) => name === "libc6")!;
  assertEquals(libc.purl, "pkg:deb/debian/libc6@2.41-12%2Bdeb13u4?arch=amd64");
  assertEquals(libc.licenses, [{ license: { id: "LGPL-2.1-or-later" } }]);
  assertEquals(bom.metadata.component.licenses, [{ license: { id: "Apache-2.0" } }]);
  assertEquals(bom.dependencies[0]!.dependsOn, [
    "pkg:github/denoland/deno@v2.4.2",
    "pkg:npm/etcd3@1.1.2",
  ]);
});

Deno.test("makeBom() gives the same bytes for the same input, and another number for another", () => {
  assertEquals(JSON.stringify(makeBom(SUBJECT)), JSON.stringify(makeBom(SUBJECT)));
  const other = makeBom({ ...SUBJECT, sha256: "ac".repeat(32) });
  assert(other.serialNumber !== makeBom(SUBJECT).serialNumber);
});

Deno.test("makeBom() refuses a package that the lock file lacks", () => {
  assertThrows(
    () => makeBom({ ...SUBJECT, packages: [{ name: "nosuch", version: "1.0.0", license: "MIT" }] }),
    Error,
    "deno.lock lacks nosuch@1.0.0",
  );
});
