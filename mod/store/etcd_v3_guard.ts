const listeners = new Set<(error: Error) => void>();

/**
 * Listens for promises that Deno's own HTTP/2 client rejects and lets nobody catch.
 *
 * Deno 2.4 does so with the pending read of a stream when its connection breaks or the server resets
 * it, and the process would end. Nothing else tells that such a stream is dead. Rejections with any
 * frame outside of `node:http2` in their stack are left alone.
 *
 * @param listener told of each; the rejection then counts as handled
 */
export function onHttp2Rejection(listener: (error: Error) => void): Disposable {
  // A copy of its own, should one listener be passed twice.
  const entry = (error: Error) => listener(error);
  if (listeners.size === 0) globalThis.addEventListener("unhandledrejection", handle);
  listeners.add(entry);
  return {
    [Symbol.dispose]() {
      listeners.delete(entry);
      if (listeners.size === 0) globalThis.removeEventListener("unhandledrejection", handle);
    },
  };
}

function handle(event: PromiseRejectionEvent): void {
  const { reason } = event;
  if (!(reason instanceof Error) || !isOfHttp2(reason.stack ?? "")) return;
  event.preventDefault();
  for (const listener of listeners) listener(reason);
}

/** Frames read `at async node:http2:821:44`, or `at eventLoopTick (ext:core/01_core.js:185:21)`. */
function isOfHttp2(stack: string): boolean {
  const frames = stack.split("\n").filter((line) => /^\s+at /.test(line));
  return frames.some((frame) => frame.includes("node:http2:")) &&
    frames.every((frame) => /\b(node|ext):[^:]+:\d+:\d+\)?$/.test(frame));
}
