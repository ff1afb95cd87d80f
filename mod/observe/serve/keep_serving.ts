import { sleep } from "../../async/sleep.ts";
import { warning } from "../log/log.ts";

/** Milliseconds before a server that has ended is started again. */
const RESTART_DELAY_MS = 500;

/**
 * Keeps one of the runtime's servers up until the signal aborts. Any client can use up the descriptors of
 * this process; the first connection that then cannot be accepted ends the server by an error, which would
 * end the process, too. Deno 2.4 accepts no more connections then, and reports the error when the open
 * ones are gone.
 *
 * @param what for the log
 * @param server a running server
 * @param again starts another in its place
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
      warning(`Cannot serve ${what}: ${(error as Error).message}; starting the server again`);
    }
    current = undefined;
    await sleep(RESTART_DELAY_MS, signal);
    if (signal.aborted) return;
  }
}
