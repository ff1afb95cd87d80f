import { basename, dirname, join } from "node:path/posix";
import { ExportError } from "./errors.ts";

/** Mode of the files: readable by everyone, independent of the umask. */
const FILE_MODE = 0o644;
/** Mode of created directories. */
const DIRECTORY_MODE = 0o755;

/**
 * Replaces a file in one step: after a power failure, and for every reader, it has either the old text or the
 * new one. Writes a new file beside it, syncs and renames it, and syncs the directory. Creates missing
 * directories.
 *
 * Writes to anything but a regular file (`/dev/stdout`, a pipe, a link) in place: a rename would replace the
 * device.
 *
 * @throws {ExportError} when that fails; the old file is then unchanged
 */
export async function writeFileAtomically(path: string, text: string): Promise<void> {
  try {
    await makeDirectory(dirname(path));
    if (await isRegularOrMissing(path)) await replace(path, text);
    else await Deno.writeTextFile(path, text);
  } catch (cause) {
    throw ExportError.from(`cannot write ${path}`, cause);
  }
}

async function replace(path: string, text: string): Promise<void> {
  const directory = dirname(path);
  const temporary = join(directory, `.${basename(path)}.${crypto.randomUUID()}`);
  try {
    using file = await Deno.open(temporary, { write: true, createNew: true, mode: 0o600 });
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
    await Deno.chmod(temporary, FILE_MODE);
    await file.sync();
    await Deno.rename(temporary, path);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {}); // report the first error
    throw error;
  }
  using handle = await Deno.open(directory);
  await handle.sync();
}

async function isRegularOrMissing(path: string): Promise<boolean> {
  try {
    return (await Deno.lstat(path)).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return true;
    throw error;
  }
}

/** Creates a directory and its parents, with a mode that is independent of the umask. */
export async function makeDirectory(path: string): Promise<void> {
  try {
    await makeOneDirectory(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound) || path === dirname(path)) throw error;
    await makeDirectory(dirname(path));
    // Retry once only: below /proc, or behind a dangling link, it stays missing.
    await makeOneDirectory(path);
  }
}

async function makeOneDirectory(path: string): Promise<void> {
  try {
    await Deno.mkdir(path, { mode: DIRECTORY_MODE });
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return;
    throw error;
  }
  await Deno.chmod(path, DIRECTORY_MODE);
}
