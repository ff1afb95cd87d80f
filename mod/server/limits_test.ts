import { assertEquals } from "@std/assert";
import { askRaw } from "./testing/raw_http.ts";
import { makeEmbeddedLab } from "../store/testing/embedded_lab.ts";
import { net, vxlan } from "../store/testing/store_lab.ts";
import { libc } from "../sys/mod.ts";
import { serveLeases } from "./server.ts";

// The library stays loaded, which is no leak of the first test that needs it.
libc();

Deno.test("serveLeases() lets one address hold so many polls, and others again when they are answered", async () => {
  await using lab = makeEmbeddedLab();
  await lab.put("/_/config", '{"Network": "10.73.0.0/16"}');
  await using store = await lab.open("/_");
  const stop = new AbortController();
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const done = serveLeases({
    connections: listener,
    networks: { open: (network) => lab.open(`/${network}`) },
    signal: stop.signal,
    pollsPerAddress: 2,
  });
  const ask = (target: string) => askRaw(listener.addr.port, "GET", target);
  const cursorOf = (body: string) => /"cursor":"(.*?)"/.exec(body)![1]!;
  const poll = async () => {
    const cursor = cursorOf((await ask("/v1/_/store")).body);
    for (;;) {
      const answer = await ask(`/v1/_/store?next=${cursor}`);
      // The probe below may have taken its place for a moment.
      if (answer.status !== 503) return answer;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  try {
    const held = [poll(), poll()];
    let refused;
    // Both have to have come before it.
    for (const until = Date.now() + 60_000; refused?.status !== 503 && Date.now() < until;) {
      const brief = ask("/v1/_/store?next=33");
      refused = await brief;
    }
    assertEquals([refused?.status, refused?.body], [
      503,
      "127.0.0.1 holds 2 polls already; try again later\n",
    ]);
    await store.createLease(net("10.73.77.0/24"), vxlan("192.0.2.77"), 600);
    for (const one of held) assertEquals((await one).status, 200);
    assertEquals((await ask("/v1/_/store?next=33")).status, 200);
  } finally {
    stop.abort();
    await done;
  }
});
