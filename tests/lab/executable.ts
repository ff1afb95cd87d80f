import { dirname, resolve } from "node:path";
import { LIBRARIES } from "../../scripts/build/bundled_libc.ts";

/** Repository root. */
const ROOT = new URL("../../", import.meta.url).pathname;

/**
 * The executable the lab runs: dist/flanneld, or the one that the variable FLANNELD names. With the build that brings
 * its own C library (`FLANNELD=dist/bundled/usr/bin/flanneld`) every host of a lab has its libraries.
 */
export const FLANNELD: string = resolve(Deno.env.get("FLANNELD") ?? `${ROOT}dist/flanneld`);

/** Directory with the C library that {@linkcode FLANNELD} brings; `undefined` where it takes the machine's. */
export const BUNDLED_LIBRARIES: string | undefined = bundledLibraries(FLANNELD);

/** Returns `/x/usr/lib` of `/x/usr/bin/flanneld`, when the libraries are there. */
function bundledLibraries(executable: string): string | undefined {
  const root = dirname(dirname(dirname(executable)));
  try {
    return Deno.statSync(`${root}${LIBRARIES}`).isDirectory ? dirname(root + LIBRARIES) : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
