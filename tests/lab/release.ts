import { VERSION } from "../../mod/version.ts";
import { type PackageFormat, writeRelease } from "../../scripts/package/package.ts";
import { FLANNELD } from "./executable.ts";

const ROOT = new URL("../../", import.meta.url).pathname.replace(/\/$/, "");

/** Options of {@linkcode writeLabRelease}. */
export interface LabReleaseOptions {
  /** @default this version */
  readonly version?: string;
  /** @default the one under test */
  readonly executable?: string;
  /** @default all but the container image */
  readonly formats?: readonly PackageFormat[];
  /** @default true */
  readonly bundledLibc?: boolean;
}

/**
 * Writes a release without compression, which would take most of the processor time.
 *
 * @param output directory where it goes, made when it is missing
 */
export async function writeLabRelease(
  output: string,
  { version = VERSION, executable = FLANNELD, ...options }: LabReleaseOptions = {},
): Promise<void> {
  await writeRelease({
    ...{ root: ROOT, executable, output },
    info: { version, arch: "x86_64", sourceDateEpoch: 1_700_000_000, gzipLevel: 0 },
    ...options,
  });
}
