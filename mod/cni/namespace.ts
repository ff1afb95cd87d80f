import { CniError, Code } from "./errors.ts";

/**
 * Checks the container's network namespace before anything is made for it.
 *
 * @throws {CniError} 3 when there is none; 8 when it is the host's
 */
export function checkNamespace(netns: string): void {
  let found: Deno.FileInfo;
  try {
    found = Deno.statSync(netns);
  } catch (error) {
    throw new CniError(
      Code.UNKNOWN_CONTAINER,
      `no network namespace ${JSON.stringify(netns)}`,
      undefined,
      { cause: error },
    );
  }
  const own = Deno.statSync("/proc/self/ns/net");
  if (found.ino === own.ino && found.dev === own.dev) {
    throw new CniError(Code.INVALID_NAMESPACE, `${netns} is the host's network namespace`);
  }
}
