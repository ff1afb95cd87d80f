import { reasonOf } from "../../export/errors.ts";

/** The command of `-on-subnet-change` cannot be run. The message is one line. */
export class HookError extends Error {
  override readonly name = "HookError";
}

/** Directories that execvp(3) searches without PATH: _CS_PATH of confstr(3) in glibc. */
const DEFAULT_PATH = "/bin:/usr/bin";

const NOT_THERE = "there is no such file";

/**
 * Checks that the program of `-on-subnet-change` can be run. Otherwise the agent would find a mistake only
 * when the subnet changes, which may be months later.
 *
 * @param path directories to search for a name without a slash, separated by colons
 * @throws {HookError} when the program is missing or not executable
 */
export function requireHookProgram(
  program: string,
  path: string = Deno.env.get("PATH") ?? DEFAULT_PATH,
): void {
  const problem = program.includes("/") ? problemOf(program) : problemIn(path, program);
  if (problem === undefined) return;
  throw new HookError(
    `cannot run ${program} (-on-subnet-change): ${problem}; give the path of an executable file, ` +
      "and its arguments behind it",
  );
}

/** Returns why no directory has a program, in the order of execvp(3), which skips files that cannot be run. */
function problemIn(path: string, program: string): string | undefined {
  let problem = `it is not in ${path} (PATH)`;
  for (const directory of path.split(":")) {
    const file = `${directory || "."}/${program}`;
    const found = problemOf(file);
    if (found === undefined) return undefined;
    if (found !== NOT_THERE) problem = `${file}: ${found}`;
  }
  return problem;
}

/** Returns why a file cannot be run; `undefined` when its mode allows it. */
function problemOf(file: string): string | undefined {
  try {
    const { isFile, isDirectory, mode } = Deno.statSync(file);
    if (!isFile) return isDirectory ? "it is a directory" : "it is no file";
    // execve(2) refuses a file without any execute bit even to root.
    return ((mode ?? 0) & 0o111) === 0 ? "it is not executable" : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return NOT_THERE;
    }
    return reasonOf(error);
  }
}
