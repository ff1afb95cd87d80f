import { makeDirectory } from "../../mod/export/atomic_file.ts";
import { runTool } from "./run_tool.ts";
import { elfSize } from "./runtime.ts";

/** Directory of the libraries in an installation. The executable names it, so no prefix changes it. */
export const LIBRARIES = "/usr/lib/flanneld";

/** Oldest kernel that the bundled C library has to run on: that of CentOS 7. */
const OLDEST_KERNEL = [3, 10, 0] as const;

/** Debian's packages, and the files of each by the name that the executable, or glibc itself, asks for. */
const PACKAGES: readonly { readonly name: string; readonly files: readonly string[] }[] = [
  {
    name: "libc6",
    files: [
      ...["libc.so.6", "libm.so.6", "libdl.so.2", "librt.so.1", "libpthread.so.0"],
      // For name resolution by /etc/nsswitch.conf; the host's own are of another glibc.
      ...["libresolv.so.2", "libnss_files.so.2", "libnss_dns.so.2"],
    ],
  },
  { name: "libgcc-s1", files: ["libgcc_s.so.1"] },
];

/** The dynamic loader of the package libc6 on x86_64, and its name in {@linkcode LIBRARIES}. */
const LOADER = { from: "ld-linux-x86-64.so.2", to: "ld.so" } as const;

/** `deno compile` ends the payload with a magic number, a hash of its name and its length: 4, 4 and 8 bytes. */
const TRAILER = { magic: 0x501e, size: 16 } as const;

/** Licenses of Debian's copyright files that are named there without their text. */
const COMMON_LICENSES = ["GPL-2", "GPL-3", "LGPL-2.1"] as const;

/** A Debian package that libraries were taken from. */
export interface LibraryPackage {
  readonly name: string;
  readonly version: string;
  /** Debian's source package. */
  readonly source: string;
  readonly sourceVersion: string;
  /** SPDX expression of the libraries. */
  readonly license: string;
  /** Text of Debian's copyright file. */
  readonly copyright: string;
}

/** Output of {@linkcode bundleLibc}. */
export interface BundledLibc {
  /** Path of the executable that runs with the libraries. */
  readonly executable: string;
  /** Paths of the libraries. */
  readonly libraries: readonly string[];
  readonly packages: readonly LibraryPackage[];
  /** Texts of the licenses that the copyright files name: `LGPL-2.1` to its text. */
  readonly licenses: ReadonlyMap<string, string>;
}

/**
 * Writes `usr/bin/flanneld`, which starts on hosts whatever their C library is, and `usr/lib/flanneld`, which it takes
 * the C library from. Other programs, also those that it starts, keep the host's: nothing is set in the environment.
 *
 * The interpreter and the search path are in the ELF image, which has to be changed without its payload: patchelf would
 * drop what follows the image.
 *
 * @param executable output of `deno task compile` for this machine
 * @param output directory, which stands for the root
 * @throws {Error} when the executable has another form, or this machine's C library is not Debian's for x86_64
 */
export async function bundleLibc(executable: string, output: string): Promise<BundledLibc> {
  if (Deno.build.arch !== "x86_64") {
    throw new Error(`the C library is bundled for x86_64 alone, not for ${Deno.build.arch}`);
  }
  const directory = `${output}${LIBRARIES}`;
  await makeDirectory(directory);
  const libraries: string[] = [];
  const packages: LibraryPackage[] = [];
  for (const { name, files } of PACKAGES) {
    const paths = await installedFiles(name);
    const wanted = files.map((file) => [file, file] as readonly [string, string]);
    if (name === "libc6") wanted.push([LOADER.from, LOADER.to]);
    for (const [from, to] of wanted) {
      const path = paths.find((path) => path.endsWith(`/${from}`));
      if (path === undefined) throw new Error(`the package ${name} holds no ${from}`);
      const bytes = await Deno.readFile(path);
      if (to === "libc.so.6") checkOldestKernel(path, bytes);
      await Deno.writeFile(`${directory}/${to}`, bytes);
      // The loader and libc.so.6 can be run, which helps to examine a host.
      await Deno.chmod(`${directory}/${to}`, 0o755);
      libraries.push(`${directory}/${to}`);
    }
    packages.push(await describePackage(name));
  }
  const target = `${output}/usr/bin/flanneld`;
  await makeDirectory(`${output}/usr/bin`);
  await relink(executable, target);
  const licenses = new Map<string, string>();
  for (const name of COMMON_LICENSES) {
    licenses.set(name, await Deno.readTextFile(`/usr/share/common-licenses/${name}`));
  }
  return { executable: target, libraries: libraries.sort(), packages, licenses };
}

/** Lets a copy of an executable of Deno's name the bundled loader and libraries. */
async function relink(executable: string, output: string): Promise<void> {
  const file = await Deno.readFile(executable);
  const size = elfSize(file);
  const payload = file.subarray(size);
  const trailer = new DataView(file.buffer, file.byteOffset + file.length - TRAILER.size);
  const isWhole = payload.length > TRAILER.size &&
    trailer.getUint32(0, true) === TRAILER.magic &&
    Number(trailer.getBigUint64(8, true)) === payload.length;
  if (!isWhole) {
    throw new Error(`${executable} does not end in the payload of deno compile (Deno 2.4)`);
  }
  await Deno.writeFile(output, file.subarray(0, size));
  await runTool([
    ...["patchelf", "--set-interpreter", `${LIBRARIES}/${LOADER.to}`] as const,
    // DT_RPATH, which comes before LD_LIBRARY_PATH, and holds for the libraries of libraries, too: a module of
    // the host's nsswitch.conf then finds this libresolv, not one of another glibc.
    ...["--force-rpath", "--set-rpath", LIBRARIES, output],
  ]);
  await Deno.writeFile(output, payload, { append: true });
  await Deno.chmod(output, 0o755);
}

/** Returns a package's files. Those that differ from the package's checksums are an error. */
async function installedFiles(name: string): Promise<string[]> {
  const list = await runTool(["dpkg-query", "--listfiles", `${name}:amd64`]);
  const changed = (await runTool(["sh", "-c", `dpkg --verify ${name}:amd64 || :`])).match(
    /\/\S*\.so\S*/,
  );
  if (changed !== null) throw new Error(`${changed[0]} is not as the package ${name} has it`);
  return list.split("\n");
}

async function describePackage(name: string): Promise<LibraryPackage> {
  const format = "${Version} ${source:Package} ${source:Version}\n";
  const line = await runTool(["dpkg-query", "--show", `--showformat=${format}`, `${name}:amd64`]);
  const [version, source, sourceVersion] = line.trim().split(" ") as [string, string, string];
  return {
    ...{ name, version, source, sourceVersion },
    license: name === "libc6" ? "LGPL-2.1-or-later" : "GPL-3.0-or-later WITH GCC-exception-3.1",
    copyright: await Deno.readTextFile(`/usr/share/doc/${name}/copyright`),
  };
}

/**
 * Compares the oldest kernel that a C library runs on, its note of the ABI (NT_GNU_ABI_TAG, elf.h), with
 * {@linkcode OLDEST_KERNEL}.
 */
function checkOldestKernel(path: string, library: Uint8Array): void {
  const [name, version] = [4, 16]; // Sizes of the note's two parts.
  const header = [
    name,
    0,
    0,
    0,
    version,
    0,
    0,
    0,
    1,
    0,
    0,
    0,
    ...new TextEncoder().encode("GNU\0"),
  ];
  const view = new DataView(library.buffer, library.byteOffset, library.byteLength);
  for (let at = 0; at + 32 <= library.length; at += 4) {
    if (!header.every((byte, i) => library[at + i] === byte)) continue;
    const kernel = [20, 24, 28].map((offset) => view.getUint32(at + offset, true));
    const differs = kernel.findIndex((part, i) => part !== OLDEST_KERNEL[i]);
    if (differs === -1 || kernel[differs]! < OLDEST_KERNEL[differs]!) return;
    throw new Error(
      `${path} needs Linux ${kernel.join(".")}, CentOS 7 has ${OLDEST_KERNEL.join(".")}`,
    );
  }
  throw new Error(`${path} does not name the kernel that it needs: it is not glibc`);
}
