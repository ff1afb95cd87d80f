import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import type { BundledPackage } from "../build/bundle.ts";
import type { LibraryPackage } from "../build/bundled_libc.ts";
import { type Lockfile, packageName } from "../checks/lockfile.ts";
import type { Crate } from "./licenses.ts";

/** A bill of materials, CycloneDX 1.5 in JSON: as much of it as is written here. */
export interface Bom {
  readonly bomFormat: "CycloneDX";
  readonly specVersion: "1.5";
  /** `urn:uuid:` and a UUID that follows from all the rest. */
  readonly serialNumber: string;
  readonly version: 1;
  readonly metadata: {
    readonly timestamp: string;
    readonly component: BomComponent;
  };
  readonly components: readonly BomComponent[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[];
}

/** One part. */
export interface BomComponent {
  readonly type: "application" | "library" | "platform";
  readonly "bom-ref": string;
  readonly name: string;
  /** `@grpc`, of an npm package's name. */
  readonly group?: string;
  readonly version: string;
  readonly purl?: string;
  readonly hashes?: readonly { readonly alg: "SHA-256" | "SHA-512"; readonly content: string }[];
  /** One SPDX license or expression. @default not known */
  readonly licenses?: readonly [BomLicense];
}

/** An identifier of SPDX, or an expression of several. */
export type BomLicense =
  | { readonly license: { readonly id: string } }
  | { readonly expression: string };

/** Input of {@linkcode makeBom}. */
export interface BomSubject {
  readonly version: string;
  /** Of the executable, in hex. */
  readonly sha256: string;
  readonly lock: Lockfile;
  /** The npm packages that are in the executable. */
  readonly packages: readonly Omit<BundledPackage, "texts">[];
  /** The Rust crates that the executable names. */
  readonly crates: readonly Crate[];
  /** The runtime that is in it. */
  readonly runtime: { readonly version: string; readonly sha256?: string };
  /** Debian's packages that come with the executable. */
  readonly libraries: readonly Pick<LibraryPackage, "name" | "version" | "license">[];
  /** Seconds since 1970. */
  readonly sourceDateEpoch: number;
}

/**
 * Lists the parts of the executable: flanneld, Deno with the Rust crates in it, and the npm packages, each with the
 * checksum under which the registry has it, with their licenses and dependencies. The same input gives the same bytes.
 *
 * @throws {Error} when a package is not in the lock file
 */
export function makeBom(subject: BomSubject): Bom {
  const { version, lock, packages, runtime } = subject;
  const application: BomComponent = {
    type: "application",
    "bom-ref": `pkg:generic/flanneld@${version}`,
    name: "flanneld",
    version,
    purl: `pkg:generic/flanneld@${version}`,
    hashes: [{ alg: "SHA-256", content: subject.sha256 }],
    ...licenses("Apache-2.0"),
  };
  const deno: BomComponent = {
    type: "platform",
    "bom-ref": `pkg:github/denoland/deno@v${runtime.version}`,
    name: "deno",
    version: runtime.version,
    purl: `pkg:github/denoland/deno@v${runtime.version}`,
    ...(runtime.sha256 === undefined
      ? {}
      : { hashes: [{ alg: "SHA-256" as const, content: runtime.sha256 }] }),
    ...licenses("MIT"),
  };
  const licenseOf = new Map(packages.map((part) => [lockId(part, lock), part.license]));
  const ids = [...licenseOf.keys()].sort();
  const shipped = new Map(ids.map((id) => [id, npmPurl(id)]));
  const libraries = ids.map((id) => ({ ...library(id, lock), ...licenses(licenseOf.get(id)!) }));
  const crates = subject.crates.map(crate);
  const debian = subject.libraries.map(debianPackage);
  const needs = ids.map((id) => {
    const dependsOn = (lock.npm![id]!.dependencies ?? []).flatMap((name) => {
      const found = shipped.get(name) ??
        [...shipped].find(([other]) => packageName(other) === name)?.[1];
      // Of what a package names, the bundle holds what runs.
      return found === undefined ? [] : [found];
    });
    return { ref: npmPurl(id), dependsOn: [...new Set(dependsOn)].sort() };
  });
  const needed = new Set(needs.flatMap(({ dependsOn }) => dependsOn));
  const roots = [...shipped.values()].filter((purl) => !needed.has(purl));
  const bom: Bom = {
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    serialNumber: "",
    version: 1,
    metadata: {
      timestamp: new Date(subject.sourceDateEpoch * 1000).toISOString().replace(".000", ""),
      component: application,
    },
    components: [deno, ...libraries, ...crates, ...debian],
    dependencies: [
      { ref: application["bom-ref"], dependsOn: [deno["bom-ref"], ...roots].sort() },
      {
        ref: deno["bom-ref"],
        dependsOn: [...crates, ...debian].map((part) => part["bom-ref"]),
      },
      ...needs,
      ...[...crates, ...debian].map((part) => ({ ref: part["bom-ref"], dependsOn: [] })),
    ],
  };
  return { ...bom, serialNumber: `urn:uuid:${uuidOf(JSON.stringify(bom))}` };
}

/** The lock file's id of a package, which may carry a suffix of peers. */
function lockId({ name, version }: Pick<BundledPackage, "name" | "version">, lock: Lockfile) {
  const id = `${name}@${version}`;
  const found = Object.keys(lock.npm ?? {}).find((key) => key === id || key.startsWith(`${id}_`));
  if (found === undefined) throw new Error(`deno.lock lacks ${id}`);
  return found;
}

function licenses(spdx: string): Pick<BomComponent, "licenses"> {
  if (spdx === "NOASSERTION") return {};
  return { licenses: [/\s/.test(spdx) ? { expression: spdx } : { license: { id: spdx } }] };
}

function crate({ name, version }: Crate): BomComponent {
  // Package URL: the plus of build metadata is encoded.
  const purl = `pkg:cargo/${name}@${version.replace("+", "%2B")}`;
  return { type: "library", "bom-ref": purl, name, version, purl };
}

function debianPackage(part: BomSubject["libraries"][number]): BomComponent {
  const { name, version, license } = part;
  const purl = `pkg:deb/debian/${name}@${encodeURIComponent(version)}?arch=amd64`;
  return { type: "library", "bom-ref": purl, name, version, purl, ...licenses(license) };
}

function library(id: string, lock: Lockfile): BomComponent {
  const locked = lock.npm![id]!;
  const fullName = packageName(id);
  const [group, name] = fullName.startsWith("@") ? fullName.split("/") : [undefined, fullName];
  const sha512 = /^sha512-(.+)$/.exec(locked.integrity ?? "")?.[1];
  return {
    type: "library",
    "bom-ref": npmPurl(id),
    ...(group === undefined ? {} : { group }),
    name: name!,
    version: versionOf(id),
    purl: npmPurl(id),
    ...(sha512 === undefined ? {} : {
      hashes: [{ alg: "SHA-512", content: Buffer.from(sha512, "base64").toString("hex") }],
    }),
  };
}

/** Removes the suffix that distinguishes one version with different peers. */
function versionOf(id: string): string {
  return id.slice(packageName(id).length + 1).split("_")[0]!;
}

/** Package URL: the scope's `@` is encoded. */
function npmPurl(id: string): string {
  return `pkg:npm/${packageName(id).replace("@", "%40")}@${versionOf(id)}`;
}

/** RFC 9562, version 8: a UUID of our own making, from a hash. */
function uuidOf(text: string): string {
  const bytes = createHash("sha256").update(text).digest().subarray(0, 16);
  bytes[6] = (bytes[6]! & 0x0f) | 0x80;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
