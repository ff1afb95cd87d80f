import { sleep } from "../../async/sleep.ts";
import { warning } from "../log/log.ts";

/** How soon a server that has ended is begun anew, in milliseconds. */
const PAUSE = 500;

/**
 * Keeps one of the runtime's servers up until the signal aborts. The first connection that it cannot take,
 * for want of a descriptor, ends it by an error, which would end the process, too; and whoever can
 * connect can bring that about. Deno 2.4 takes no more connections then, and says so when those that it has
 * are gone.
 *
 * @param what for the log
 * @param server the one that has begun
 * @param again begins another in its place
 * @param signal also ends the servers. This never rejects
 */
export async function keepServing(
  what: string,
  server: Deno.HttpServer,
  again: () => Deno.HttpServer | Promise<Deno.HttpServer>,
  signal: AbortSignal,
): Promise<void> {
  for (let current: Deno.HttpServer | undefined = server;;) {
    try {
      current ??= await again();
      return await current.finished;
    } catch (error) {
      if (signal.aborted) return;
      warning(`Cannot serve ${what}: ${(error as Error).message}; beginning anew`);
    }
    current = undefined;
    await sleep(PAUSE, signal);
    if (signal.aborted) return;
  }
}
