import { FLANNELD } from "../lab/unit.ts";
import { VERSION } from "../../mod/version.ts";

/** As long as the version, which is replaced in the executable. */
const OTHER = VERSION.replace(/\d$/, (digit) => String((Number(digit) + 1) % 10));

let made: Promise<string> | undefined;

/** Chooses the build that hosts are upgraded and downgraded to. @param path of an executable */
export function useOtherBuild(path: string): void {
  made = Promise.resolve(path);
}

/**
 * An executable of another version. Until one has been released, that is this build with another version
 * string: what an upgrade does to a host is the same, and what the two write differs by that string.
 * `--other=EXECUTABLE` names a real one.
 */
export function otherBuild(): Promise<string> {
  return made ??= patchVersion();
}

async function patchVersion(): Promise<string> {
  const directory = await Deno.makeTempDir({ prefix: "chaos-build-" });
  globalThis.addEventListener("unload", () => Deno.removeSync(directory, { recursive: true }));
  const path = `${directory}/flanneld`;
  const program = await Deno.readFile(FLANNELD);
  const before = new TextEncoder().encode(`VERSION = "${VERSION}"`);
  const after = new TextEncoder().encode(`VERSION = "${OTHER}"`);
  const text = new TextDecoder("latin1").decode(program);
  for (
    let at = text.indexOf(`VERSION = "${VERSION}"`);
    at >= 0;
    at = text.indexOf(`VERSION = "${VERSION}"`, at + before.length)
  ) program.set(after, at);
  await Deno.writeFile(path, program, { mode: 0o755 });
  const { stdout } = await new Deno.Command(path, { args: ["-version"] }).output();
  const version = new TextDecoder().decode(stdout).trim();
  if (version !== OTHER) throw new Error(`the other build says it is ${version}, not ${OTHER}`);
  return path;
}
