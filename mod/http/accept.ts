import { sleep } from "../async/sleep.ts";

/** Milliseconds until accept(2) is tried again after a lack of descriptors. */
const RETRY_MS = 100;

/** Is informed when connections cannot be taken, and when they can be again. */
export interface AcceptReport {
  /** Called at each attempt. */
  failed(error: Error): void;
  works(): void;
}

/**
 * Accepts connections until the listener is closed. Clients can use up the descriptors of this process, and
 * that error ends the runtime's own iteration.
 *
 * @throws an error of accept(2) that another attempt would not avoid
 */
export async function* acceptConnections<T extends Deno.TcpConn | Deno.UnixConn>(
  listener: { accept(): Promise<T> },
  closing: AbortSignal,
  report: AcceptReport,
): AsyncGenerator<T, void> {
  while (!closing.aborted) {
    let connection: T;
    try {
      connection = await listener.accept();
    } catch (error) {
      if (closing.aborted) return;
      if (!(error instanceof Error && isPassing(error))) throw error;
      report.failed(error);
      await sleep(RETRY_MS, closing);
      continue;
    }
    report.works();
    yield connection;
  }
}

/** Returns whether accept(2) may succeed soon: ENOMEM, ENFILE, EMFILE, ECONNABORTED, ENOBUFS. */
function isPassing({ message }: Error): boolean {
  return /\(os error (12|23|24|103|105)\)/.test(message);
}
