import { inNetworkNamespace } from "../../mod/sys/mod.ts";

/** Listening address of a fake. */
export interface ServePlace {
  /** Of a lab's host, `/proc/PID/ns/net`. @default the tester's own namespace */
  readonly netns?: string;
  /** @default "127.0.0.1" */
  readonly hostname?: string;
  /** @default a free one */
  readonly port?: number;
}

/**
 * Serves HTTP in the tester's process, on an address of a lab's host: the socket stays in the
 * namespace it was made in.
 */
export function serve(
  handler: (request: Request) => Response | Promise<Response>,
  { netns, hostname = "127.0.0.1", port = 0 }: ServePlace = {},
): Deno.HttpServer<Deno.NetAddr> {
  return inNetworkNamespace(
    netns,
    () => Deno.serve({ hostname, port, onListen: () => {}, onError: fail }, handler),
  );
}

function fail(error: unknown): Response {
  console.error(error);
  return new Response(String(error), { status: 500 });
}
