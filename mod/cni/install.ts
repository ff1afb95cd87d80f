import { makeDirectory } from "../export/atomic_file.ts";
import { ExportError } from "../export/errors.ts";
import { PLUGIN_NAME } from "./plugin_call.ts";

/**
 * Makes the link by which runtimes run the program as the plugin.
 *
 * @param executable the program
 * @param replace another plugin of that name
 * @returns a line for the operator
 * @throws {ExportError} when another plugin is there; errors of the file system
 */
export async function installPlugin(
  directory: string,
  executable: string,
  replace: boolean,
): Promise<string> {
  const path = `${directory}/${PLUGIN_NAME}`;
  const found = await findPlugin(path);
  if (found === executable) return `${path} is a link to ${executable} already`;
  if (found !== undefined && !replace) {
    throw new ExportError(`${path} is ${describe(found)}; give -force to replace it`);
  }
  await makeDirectory(directory);
  const temporary = `${directory}/.${PLUGIN_NAME}.${crypto.randomUUID()}`;
  await Deno.symlink(executable, temporary);
  try {
    await Deno.rename(temporary, path);
  } catch (error) {
    await Deno.remove(temporary);
    throw error;
  }
  return `made ${path}, a link to ${executable}`;
}

/**
 * Removes the link.
 *
 * @returns a line for the operator
 * @throws {ExportError} when another plugin is there; errors of the file system
 */
export async function uninstallPlugin(directory: string, executable: string): Promise<string> {
  const path = `${directory}/${PLUGIN_NAME}`;
  const found = await findPlugin(path);
  if (found === undefined) return `${path} does not exist`;
  if (found !== executable) throw new ExportError(`${path} is ${describe(found)}; kept it`);
  await Deno.remove(path);
  return `removed ${path}`;
}

/** Returns the target of a link, an empty string for anything else, `undefined` for nothing. */
async function findPlugin(path: string): Promise<string | undefined> {
  try {
    return (await Deno.lstat(path)).isSymlink ? await Deno.readLink(path) : "";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function describe(target: string): string {
  return target === "" ? "another plugin" : `a link to ${target}`;
}
