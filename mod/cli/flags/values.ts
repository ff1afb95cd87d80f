/** A property that is left out when it has no value, as exactOptionalPropertyTypes asks. */
export function present<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : { [key]: value } as { [P in K]?: V };
}

/** True for a text that can be the path of a file: not one of a directory, as `.` and `/run/` are. */
export function isFilePath(text: string): boolean {
  return text !== "" && !/(^|\/)\.{0,2}$/.test(text) && !text.includes("\0");
}

/** True when there is a directory of that path, as far as this user can see. */
export function isDirectory(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}
