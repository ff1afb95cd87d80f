/** Version of the program; the same as in deno.json. */
export const VERSION = "0.1.0";

/**
 * Commit of the sources, in hex; with `-dirty` when they were changed after it. `deno task compile` puts it here;
 * empty when the program runs from source, or was compiled outside of a git checkout.
 */
export const COMMIT: string = "";
