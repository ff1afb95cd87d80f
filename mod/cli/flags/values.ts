/** A property that is absent without a value, as exactOptionalPropertyTypes requires. */
export function present<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : { [key]: value } as { [P in K]?: V };
}

/** True for a text that can be the path of a file, and not of a directory, as `.` and `/run/` are. */
export function isFilePath(text: string): boolean {
  return text !== "" && !/(^|\/)\.{0,2}$/.test(text) && !text.includes("\0");
}

/** True when the path is a directory that this user can see. */
export function isDirectory(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}
