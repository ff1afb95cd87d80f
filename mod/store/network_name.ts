/** NAME_MAX of linux/limits.h, less what `.env.lock` and a temporary file's name need. */
export const MAX_NAME_LENGTH = 200;

/**
 * True for a name that a network can be served under: it becomes the name of a file, a word of the log
 * and a part of a URL.
 */
export function isNetworkName(name: string): boolean {
  return name.length <= MAX_NAME_LENGTH && /^[\w.~-]+$/.test(name) && !name.startsWith(".");
}

/** Name of the only network of a store without named networks: `_` on the wire, as in flannel. */
export const UNNAMED_NETWORK = "_";
