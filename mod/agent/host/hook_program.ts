import { reasonOf } from "../../export/errors.ts";

/** The command of `-on-subnet-change` cannot be run. The message is one line. */
export class HookError extends Error {
  override readonly name = "HookError";
}

/** Where execvp(3) looks without PATH: _CS_PATH of confstr(3), as glibc has it. */
const DEFAULT_PATH = "/bin:/usr/bin";

const NOT_THERE = "there is no such file";

/**
 * Sees to it that the program of `-on-subnet-change` can be run. Without it the agent would find out
 * when the subnet changes, which may be months later.
 *
 * @param path directories to search for a name without a slash, with colons between
 * @throws {HookError} when it is not there or not executable
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

/** As execvp(3) searches: what cannot be run is passed over for what can. */
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

/** Why a file cannot be run; `undefined` when it can, as far as its mode says. */
function problemOf(file: string): string | undefined {
  try {
    const { isFile, isDirectory, mode } = Deno.statSync(file);
    if (!isFile) return isDirectory ? "it is a directory" : "it is no file";
    // execve(2) refuses root, too, what nobody may run.
    return ((mode ?? 0) & 0o111) === 0 ? "it is not executable" : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return NOT_THERE;
    }
    return reasonOf(error);
  }
}
