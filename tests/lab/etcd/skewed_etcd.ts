/**
 * A process for a lab host: stands before etcd and moves the Date of its answers, as an etcd does
 * whose host has another time. `deno run -A skewed_etcd.ts URL SECONDS` prints the port it serves on.
 *
 * @module
 */
const [target, seconds] = Deno.args;

Deno.serve({
  hostname: "127.0.0.1",
  port: 0,
  onListen: ({ port }) => console.log(`serving on port ${port}`),
}, async (request) => {
  const { pathname, search } = new URL(request.url);
  const { status, headers, body } = await fetch(target! + pathname + search, {
    ...{ method: request.method, headers: request.headers, body: request.body },
  });
  const moved = new Headers(headers);
  moved.set("date", new Date(Date.now() + Number(seconds) * 1000).toUTCString());
  return new Response(body, { status, headers: moved });
});
