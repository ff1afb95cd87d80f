import { assert, assertEquals } from "@std/assert";
import { onHttp2Rejection } from "./guard.ts";

/** Deno 2.4's rejection when a connection breaks under a pending read. */
const STACK = `Error: stream closed because of a broken pipe
    at async node:http2:821:44`;
const LONG_STACK = `BadResource: Bad resource ID
    at node:http2:821:50
    at ClientHttp2Stream._read (node:http2:848:7)
    at ClientHttp2Stream.Readable.read (node:_stream_readable:617:12)
    at processTicksAndRejections (ext:deno_node/_next_tick.ts:36:15)
    at eventLoopTick (ext:core/01_core.js:185:21)`;
/** The same, when it was gRPC that made the stream read on. */
const GRPC_STACK = `BadResource: Bad resource ID
    at node:http2:821:50
    at ClientHttp2Stream._read (node:http2:848:7)
    at Http2SubchannelCall.startRead (file:///srv/npm/grpc-grpc-js.js:99:5)`;
const OWN_STACK = `Error: something of flanneld
    at listener (file:///srv/flanneld/main.ts:1:7)
    at ClientHttp2Stream.emit (node:http2:821:44)`;

function failure(stack: string): Error {
  return Object.assign(new Error("broken"), { stack });
}

/** Dispatches the event that an unhandled rejection makes. @returns whether it counts as handled */
function reject(reason: unknown): boolean {
  const promise = Promise.reject(reason);
  promise.catch(() => {});
  const event = new PromiseRejectionEvent("unhandledrejection", {
    promise,
    reason,
    cancelable: true,
  });
  // Deno's own listener, which would end the process, comes with the real event only.
  globalThis.dispatchEvent(event);
  return event.defaultPrevented;
}

Deno.test("onHttp2Rejection() hears what Deno's HTTP/2 client lets nobody catch", async () => {
  const heard: Error[] = [];
  let onHeard = () => {};
  const expected = [failure(STACK), failure(LONG_STACK), failure(GRPC_STACK)];
  {
    using _ = onHttp2Rejection((error) => {
      heard.push(error);
      onHeard();
    });
    for (const error of expected) assert(reject(error));
    assertEquals(heard, expected);

    // For real: this would end the test run.
    Promise.reject(expected[0]);
    await new Promise<void>((resolve) => onHeard = resolve);
    assertEquals(heard.length, 4);
  }
  assert(reject(failure(STACK)), "ends the process after the store was closed");
  assertEquals(heard.length, 4);
});

Deno.test("onHttp2Rejection() leaves all other rejections alone", () => {
  using _ = onHttp2Rejection((error) => {
    throw error;
  });
  const others = [
    failure(OWN_STACK),
    failure("Error: none of it\n    at ext:core/01_core.js:1:1"),
    failure("Error: no frames at all"),
    "a string",
    undefined,
  ];
  for (const reason of others) assert(!reject(reason));
});

Deno.test("onHttp2Rejection() calls every listener", () => {
  let one = 0;
  let two = 0;
  using _first = onHttp2Rejection(() => one++);
  {
    using _second = onHttp2Rejection(() => two++);
    reject(failure(STACK));
  }
  reject(failure(STACK));
  assertEquals([one, two], [2, 1]);
});
