import * as esbuild from "esbuild";
import type { Lockfile } from "../checks/lockfile.ts";
import { dirname, relative, resolve } from "node:path";

/** Options of {@linkcode bundlePackages}. */
export interface BundleOptions {
  /** As deno.json has them: `etcd3` to `npm:etcd3@1.1.2`. */
  readonly imports: Readonly<Record<string, string>>;
  readonly lock: Lockfile;
  /** Imports of the program: `etcd3/lib/connection-pool.js`. */
  readonly specifiers: readonly string[];
  /** Output directory of the modules. */
  readonly output: string;
}

/** An npm package that something of is in a bundle. */
export interface BundledPackage {
  readonly name: string;
  readonly version: string;
  /** SPDX license expression of its package.json; `NOASSERTION` when it has none. */
  readonly license: string;
  /** Texts of its license and notices, as it comes with them. */
  readonly texts: readonly string[];
}

/** Output of {@linkcode bundlePackages}. Paths are relative to its directory. */
export interface Bundle {
  /** Specifier to module. */
  readonly modules: ReadonlyMap<string, string>;
  /** Modules that those share. */
  readonly chunks: readonly string[];
  /** Files that they read at run time. */
  readonly assets: readonly string[];
  /** Packages that something of went in, sorted by name and version. */
  readonly packages: readonly BundledPackage[];
}

/** How a CommonJS module names a file of its package. */
const OWN_FILE = /`\$\{__dirname\}\/([^`$]+)`/g;

/**
 * Globals of CommonJS that an ES module lacks. Only built-in modules are left to require;
 * node:module has a `require` too, and would load what the bundle saves.
 */
const COMMON_JS = "const __dirname = import.meta.dirname;" +
  "const require = (name) => globalThis.process.getBuiltinModule(name);";

/** A file of a package that holds a license, or notices that it asks to keep. */
const LICENSE_FILE = /^(?:licen[sc]e|copying|notice)(?:[.-].*)?$/i;

const NODE_GLOBALS = new URL("./node_globals.js", import.meta.url).pathname;

/**
 * Makes one ES module of all the modules of npm packages that an import loads.
 *
 * An executable of Deno keeps in memory whatever it embeds, and a package comes with its tests,
 * types and second builds: etcd3 and all it needs are 9 MB, of which 0.6 MB can ever run. Besides,
 * the first CommonJS module costs 8 MB and 12 ms, for the analysis of its exports.
 *
 * @throws {Error} when a package cannot be loaded or bundled
 */
export async function bundlePackages(
  { imports, lock, specifiers, output }: BundleOptions,
): Promise<Bundle> {
  if (specifiers.length === 0) {
    return { modules: new Map(), chunks: [], assets: [], packages: [] };
  }
  const packages = await Deno.makeTempDir({ prefix: "flanneld-packages-" });
  try {
    await install(packages, imports, lock);
    return await bundle(packages, specifiers, output);
  } finally {
    await Deno.remove(packages, { recursive: true });
  }
}

async function bundle(
  packages: string,
  specifiers: readonly string[],
  output: string,
): Promise<Bundle> {
  const names = await exportNames(packages, specifiers);
  const entries = `${packages}/entries`;
  await Deno.mkdir(entries, { recursive: true });
  // esbuild names chunks by the paths of their inputs, too: a path outside of the packages' directory would let the
  // bytes of the executable depend on the checkout's place.
  const globals = `${packages}/node_globals.js`;
  await Deno.copyFile(NODE_GLOBALS, globals);
  const modules = new Map<string, string>();
  for (const specifier of specifiers) {
    const name = specifier.replace(/^@/, "").replace(/\.js$/, "").replaceAll("/", "-");
    modules.set(specifier, `${name}.js`);
    // Of Node's kind of module (.mjs), to which module.exports is the default export.
    await Deno.writeTextFile(
      `${entries}/${name}.mjs`,
      `export { ${names[specifier]!.join(", ")} } from ${JSON.stringify(specifier)};\n`,
    );
  }
  const assets = new Map<string, string>();
  try {
    const { metafile } = await esbuild.build({
      absWorkingDir: packages,
      entryPoints: [`${entries}/*.mjs`],
      outdir: output,
      bundle: true,
      splitting: true,
      format: "esm",
      platform: "node",
      target: "es2022",
      // Keeps names for readable stack traces.
      minifyWhitespace: true,
      minifySyntax: true,
      legalComments: "eof",
      logLevel: "silent",
      inject: [globals],
      banner: { js: COMMON_JS },
      plugins: [ownFiles(assets)],
      metafile: true,
    });
    for (const [asset, file] of assets) {
      await Deno.mkdir(dirname(`${output}/${asset}`), { recursive: true });
      await Deno.copyFile(file, `${output}/${asset}`);
    }
    const entryFiles = new Set(modules.values());
    return {
      modules,
      chunks: Object.keys(metafile.outputs)
        .map((path) => relative(output, `${packages}/${path}`))
        .filter((path) => !entryFiles.has(path)).sort(),
      assets: [...assets.keys()].sort(),
      packages: await readPackages(
        Object.keys(metafile.inputs).filter((path) => path.includes("node_modules/"))
          .map((path) => `${packages}/${path}`),
      ),
    };
  } finally {
    await esbuild.stop();
  }
}

/** Reads the metadata and licenses of the packages that files belong to. */
async function readPackages(files: readonly string[]): Promise<BundledPackage[]> {
  const roots = new Set(files.map((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)![0]));
  const packages = await Promise.all([...roots].map(async (root): Promise<BundledPackage> => {
    const { name, version, license } = JSON.parse(
      await Deno.readTextFile(`${root}/package.json`),
    ) as { name: string; version: string; license?: string };
    const names = [...Deno.readDirSync(root)].map(({ name }) => name).filter((name) =>
      LICENSE_FILE.test(name)
    );
    const texts = await Promise.all(
      names.sort().map((name) => Deno.readTextFile(`${root}/${name}`)),
    );
    return { name, version, license: license ?? "NOASSERTION", texts };
  }));
  const key = ({ name, version }: BundledPackage) => `${name}@${version}`;
  return packages.sort((a, b) => key(a) < key(b) ? -1 : 1);
}

/** Installs packages in the bundler's search path. */
async function install(
  dir: string,
  imports: Readonly<Record<string, string>>,
  lock: Lockfile,
): Promise<void> {
  await Deno.writeTextFile(
    `${dir}/deno.json`,
    JSON.stringify({ nodeModulesDir: "auto", imports }),
  );
  await Deno.writeTextFile(`${dir}/deno.lock`, JSON.stringify(lock));
  await runDeno(dir, ["install", "--frozen"]);
}

/**
 * Returns the exported names of modules. Deno finds those of CommonJS by analysis, and the
 * bundler needs them as input.
 */
async function exportNames(
  packages: string,
  specifiers: readonly string[],
): Promise<Readonly<Record<string, readonly string[]>>> {
  const script = `
    const names = {};
    for (const specifier of ${JSON.stringify(specifiers)}) {
      names[specifier] = Object.keys(await import(specifier));
    }
    console.log(JSON.stringify(names));
    Deno.exit();`;
  const names = JSON.parse(
    await runDeno(packages, ["run", "-A", "--no-check", "-"], script),
  ) as Record<
    string,
    string[]
  >;
  // `module.exports` is Deno's own addition.
  for (const name in names) names[name] = names[name]!.filter((name) => /^[\w$]+$/.test(name));
  return names;
}

async function runDeno(cwd: string, args: string[], input = ""): Promise<string> {
  const child = new Deno.Command(Deno.execPath(), {
    args,
    cwd,
    env: { NO_COLOR: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { success, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  if (!success) throw new Error(`deno ${args[0]}: ${decoder.decode(stderr).trim()}`);
  return decoder.decode(stdout);
}

/**
 * Takes along the files that modules name by `__dirname`, which becomes the bundle's.
 *
 * @param assets gets what is found: path as of {@linkcode inPackage} to file
 */
function ownFiles(assets: Map<string, string>): esbuild.Plugin {
  return {
    name: "own-files",
    setup(build) {
      build.onLoad({ filter: /\.c?js$/ }, async ({ path }) => {
        const text = await Deno.readTextFile(path);
        if (!text.includes("__dirname")) return undefined;
        const contents = text.replace(OWN_FILE, (_, name: string) => {
          const target = resolve(dirname(path), name);
          // The whole directory: the file may name those beside it, as rpc.proto does.
          const dir = Deno.statSync(target).isFile ? dirname(target) : target;
          for (const { name, isFile } of Deno.readDirSync(dir)) {
            if (isFile) assets.set(inPackage(`${dir}/${name}`), `${dir}/${name}`);
          }
          return `\`\${__dirname}/${inPackage(target)}\``;
        });
        return { contents, loader: "js" };
      });
    },
  };
}

/** `@grpc/grpc-js/proto/x.proto` of a path that ends with `node_modules/` and that. */
function inPackage(path: string): string {
  return path.replace(/^.*node_modules\//, "");
}
