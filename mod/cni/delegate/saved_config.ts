import { CniError, Code } from "../errors.ts";
import { reasonOf } from "../json.ts";

/** Modes of upstream flannel's plugin. */
const DIRECTORY_MODE = 0o700;
const FILE_MODE = 0o600;

/**
 * Returns the configuration that a container's delegate was called with.
 *
 * @returns `undefined` when there is none
 * @throws {CniError} 5 when the file cannot be read
 */
export function readSavedConfig(dataDir: string, containerID: string): string | undefined {
  const path = `${dataDir}/${containerID}`;
  return unlessAbsent(() => Deno.readTextFileSync(path), `cannot read ${path}`);
}

/**
 * Keeps a configuration for DEL and CHECK. Replaces the file in one step, so that a call that is killed leaves no half
 * of one.
 *
 * @throws {CniError} 5 when the file cannot be written
 */
export function saveConfig(dataDir: string, containerID: string, text: string): void {
  const path = `${dataDir}/${containerID}`;
  // A container's ID does not begin with a dot.
  const temporary = `${dataDir}/.${containerID}.${Deno.pid}`;
  try {
    Deno.mkdirSync(dataDir, { recursive: true, mode: DIRECTORY_MODE });
    Deno.writeTextFileSync(temporary, text, { mode: FILE_MODE, createNew: true });
    Deno.renameSync(temporary, path);
  } catch (error) {
    removeFile(temporary);
    throw new CniError(Code.IO_FAILURE, `cannot write ${path}`, reasonOf(error), { cause: error });
  }
}

/** Removes a configuration, if there is one. @throws {CniError} 5 when that fails */
export function removeSavedConfig(dataDir: string, containerID: string): void {
  const path = `${dataDir}/${containerID}`;
  unlessAbsent(() => Deno.removeSync(path), `cannot remove ${path}`);
}

/** Lists the containers that have one. @throws {CniError} 5 when the directory cannot be read */
export function listSavedConfigs(dataDir: string): string[] {
  const read = () =>
    [...Deno.readDirSync(dataDir)].filter(({ isFile, name }) => isFile && !name.startsWith("."))
      .map(({ name }) => name);
  return unlessAbsent(read, `cannot list ${dataDir}`) ?? [];
}

function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // It was not made.
  }
}

function unlessAbsent<T>(act: () => T, failure: string): T | undefined {
  try {
    return act();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw new CniError(Code.IO_FAILURE, failure, reasonOf(error), { cause: error });
  }
}
