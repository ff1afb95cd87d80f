const listeners = new Set<(error: Error) => void>();

/**
 * Listens for promises that Deno's own HTTP/2 client rejects and lets nobody catch.
 *
 * Deno 2.4 does so with the pending read of a stream when its connection breaks or the server resets
 * it, and the process would end. Nothing else reports that such a stream is dead. All other rejections
 * are left alone.
 *
 * @param listener called with each until it is disposed of; from the first call on all of them count as handled
 */
export function onHttp2Rejection(listener: (error: Error) => void): Disposable {
  // A copy of its own, should one listener be passed twice.
  const entry = (error: Error) => listener(error);
  // Never removed: the runtime reports a rejection later than it occurs, and the reads of a connection that was
  // just closed would end the process. Adding it again does nothing.
  globalThis.addEventListener("unhandledrejection", handle);
  listeners.add(entry);
  return { [Symbol.dispose]: () => void listeners.delete(entry) };
}

function handle(event: PromiseRejectionEvent): void {
  const { reason } = event;
  if (!(reason instanceof Error) || !isOfHttp2(reason.stack ?? "")) return;
  event.preventDefault();
  for (const listener of listeners) listener(reason);
}

/**
 * True when the innermost frame is the HTTP/2 client's: `at async node:http2:821:44`. Those further
 * out may be anybody's who made a stream read on.
 */
function isOfHttp2(stack: string): boolean {
  return /^\s+at .*$/m.exec(stack)?.[0].includes("node:http2:") ?? false;
}
