/** deno.lock as of version 5; what is not read here is kept out of the reduced one. */
export interface Lockfile {
  readonly version: string;
  /** Request to version, `npm:etcd3@1.1.2` to `1.1.2`; a version may carry a suffix of peers. */
  readonly specifiers?: Readonly<Record<string, string>>;
  /** By `name@version`. */
  readonly npm?: Readonly<Record<string, LockedPackage>>;
  readonly workspace?: { readonly dependencies?: readonly string[] };
}

/** One package of a lock file. */
export interface LockedPackage {
  readonly integrity?: string;
  /** Names; with the version where the file holds several. */
  readonly dependencies?: readonly string[];
  readonly optionalDependencies?: readonly string[];
  readonly [other: string]: unknown;
}

/** The lock file's version that this reads; Deno writes it from 2.3 on. */
const VERSION = "5";

/** Packages of types alone: dependencies of others, and never loaded. */
const TYPES_ONLY = /^(@types\/.*|undici-types)$/;

/**
 * Cuts a lock file down to what the requests need. `deno compile` embeds every package that the
 * lock file names, whether or not the program imports it.
 *
 * @param requests as deno.json writes them: `npm:etcd3@1.1.2`
 * @throws {Error} when the lock file lacks one of them, or is of another version
 */
export function reduceLockfile(lock: Lockfile, requests: readonly string[]): Lockfile {
  if (lock.version !== VERSION) {
    throw new Error(`deno.lock is of version ${lock.version}; this build reads version ${VERSION}`);
  }
  const packages = lock.npm ?? {};
  const specifiers: Record<string, string> = {};
  const npm = new Map<string, LockedPackage>();
  const add = (id: string) => {
    const found = packages[id];
    if (found === undefined) throw new Error(`deno.lock lacks ${id}`);
    if (npm.has(id)) return;
    const dependencies = (found.dependencies ?? []).filter((name) => !isTypesOnly(name));
    const { dependencies: _, ...rest } = found;
    npm.set(id, dependencies.length === 0 ? rest : { ...rest, dependencies });
    for (const name of [...dependencies, ...(found.optionalDependencies ?? [])]) {
      add(resolve(name, packages));
    }
  };
  const sorted = [...new Set(requests)].sort();
  for (const request of sorted) {
    const version = lock.specifiers?.[request];
    if (version === undefined) throw new Error(`deno.lock lacks ${request}: run deno task check`);
    specifiers[request] = version;
    add(`${packageName(request.slice("npm:".length))}@${version}`);
  }
  return {
    version: lock.version,
    specifiers,
    npm: Object.fromEntries([...npm].sort(([a], [b]) => a < b ? -1 : 1)),
    workspace: { dependencies: sorted },
  };
}

/** `@grpc/grpc-js` of `@grpc/grpc-js@1.12.6`, and of `@grpc/grpc-js` itself. */
export function packageName(id: string): string {
  const at = id.indexOf("@", 1);
  return at < 0 ? id : id.slice(0, at);
}

function isTypesOnly(dependency: string): boolean {
  return TYPES_ONLY.test(packageName(dependency));
}

/** The id of a dependency, which stands without its version where there is only one. */
function resolve(dependency: string, packages: Readonly<Record<string, LockedPackage>>): string {
  if (packages[dependency] !== undefined) return dependency;
  const ids = Object.keys(packages).filter((id) => packageName(id) === dependency);
  if (ids.length !== 1) throw new Error(`deno.lock holds ${ids.length} packages ${dependency}`);
  return ids[0]!;
}
