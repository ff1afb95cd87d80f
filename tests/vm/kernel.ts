import { run } from "../lab/command.ts";

/** A kernel that a Debian suite has. */
export interface Release {
  /** The start of its version: `6.1`; or `newest`. */
  readonly version: string;
  readonly suite: string;
}

/** Debian's long-term kernels, and its newest. */
export const RELEASES: readonly Release[] = [
  { version: "5.10", suite: "bullseye" },
  { version: "6.1", suite: "bookworm" },
  { version: "6.12", suite: "trixie" },
  { version: "newest", suite: "sid" },
];

/** A kernel on disk, unpacked and not installed. */
export interface Kernel {
  /** `uname -r`. */
  readonly release: string;
  /** Path of the compressed kernel. */
  readonly image: string;
  /** The directory that has `lib/modules/<release>`. */
  readonly root: string;
}

const KEYRING = "/usr/share/keyrings/debian-archive-keyring";

/** Drivers that no test needs and that are most of the package. */
const LEFT_OUT = ["gpu", "media", "staging", "infiniband", "scsi", "usb", "iio", "hwmon", "input"];

/**
 * Fetches a kernel of a Debian suite with this machine's apt, which knows mirror and proxy, with lists
 * and caches of its own: the machine's packages stay as they are.
 *
 * @param directory keeps the kernel for the next time
 * @throws {Error} when a program fails
 */
export async function fetchKernel({ version, suite }: Release, directory: string): Promise<Kernel> {
  const root = `${directory}/${version}`;
  const known = await kernelIn(root);
  if (known !== undefined) return known;
  const work = `${directory}/${version}.new`;
  await Deno.remove(work, { recursive: true }).catch(() => {});
  await Deno.mkdir(`${work}/lists/partial`, { recursive: true });
  await Deno.mkdir(`${work}/cache/archives/partial`, { recursive: true });
  const mirror = await debianMirror();
  const keyring = await exists(`${KEYRING}.pgp`) ? `${KEYRING}.pgp` : `${KEYRING}.gpg`;
  const sources = `${work}/sources.list`;
  await Deno.writeTextFile(sources, `deb [signed-by=${keyring}] ${mirror} ${suite} main\n`);
  const options = [
    `Dir::Etc::sourcelist=${sources}`,
    "Dir::Etc::sourceparts=/dev/null",
    `Dir::State::lists=${work}/lists`,
    `Dir::Cache=${work}/cache`,
    // apt's own user may not enter the directory.
    "APT::Sandbox::User=root",
  ].flatMap((option) => ["-o", option]);
  await run(["apt-get", ...options, "update", "-qq"]);
  const depends = await run(["apt-cache", ...options, "depends", "linux-image-amd64"]);
  const name = /Depends: (linux-image-\d\S*)/.exec(depends)?.[1];
  if (name === undefined) throw new Error(`${mirror} has no kernel for ${suite}: ${depends}`);
  // Newer packages of the kernel are parts: image and modules.
  const parts = await run(["apt-cache", ...options, "depends", name]);
  const names = [
    name,
    ...[...parts.matchAll(/Depends: (linux-(?:base|binary|modules)-\d\S+)/g)].map(([, part]) =>
      part!
    ),
  ];
  await run(["apt-get", ...options, "download", "-qq", ...names], { cwd: work });
  await run(["sh", "-c", UNPACK, "sh", ...LEFT_OUT], { cwd: work });
  const kernel = await kernelIn(`${work}/root`);
  if (kernel === undefined) throw new Error(`${name} has no kernel`);
  // Debian's older packages leave this to their installation.
  await run(["depmod", "-b", kernel.root, kernel.release]);
  await Deno.rename(`${work}/root`, root);
  await Deno.remove(work, { recursive: true });
  return (await kernelIn(root))!;
}

/** Merges /usr into /, where newer packages have the modules. */
const UNPACK = `set -e
for one; do set -- "$@" --exclude="*/kernel/drivers/$one"; shift; done
mkdir root
for package in ./*.deb; do
  dpkg-deb --fsys-tarfile "$package" |
    tar -x -C root --exclude='*/kernel/sound' --exclude='./usr/share' "$@" --transform='s,^\\./usr/lib/,./lib/,'
done`;

/**
 * Returns the mirror that apt takes Debian from.
 *
 * @param env of apt-get
 * @throws {Error} when apt names none
 */
export async function debianMirror(env: Record<string, string> = {}): Promise<string> {
  const targets = ["--format", "$(SITE)", "Created-By: Packages", "Label: Debian"];
  const [mirror] = (await run(["apt-get", "indextargets", ...targets], { env })).split("\n");
  if (mirror) return mirror;
  throw new Error(
    "apt names no mirror of Debian: add one to /etc/apt/sources.list, run apt-get update",
  );
}

async function kernelIn(root: string): Promise<Kernel | undefined> {
  try {
    for await (const { name: release } of Deno.readDir(`${root}/lib/modules`)) {
      // Newer packages have the kernel beside its modules.
      for (
        const image of [`${root}/boot/vmlinuz-${release}`, `${root}/lib/modules/${release}/vmlinuz`]
      ) {
        if (await exists(image)) return { release, image, root };
      }
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return undefined;
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}
