import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { EtcdServer } from "../lab/etcd/etcd.ts";
import { serveLeases } from "../../mod/server/mod.ts";
import { configureLog } from "../../mod/observe/log/log.ts";
import { makeEmbeddedLab } from "../../mod/store/testing/embedded_lab.ts";
import { StoreError } from "../../mod/store/errors.ts";
import { openRemote } from "../../mod/store/testing/open_lab.ts";
import { makeRemoteLab } from "../../mod/store/testing/remote_lab.ts";
import { storeCases } from "../../mod/store/testing/store_cases.ts";

storeCases("remote", () => makeRemoteLab(makeEmbeddedLab()), { access: "none" });

Deno.test("openRemote() reports of an etcd that there is no flanneld", async () => {
  const lines: string[] = [];
  configureLog({ write: (line) => lines.push(line) });
  await using etcd = await EtcdServer.start({ v2: false });
  const place = new URL(etcd.endpoint).host;
  await using store = await openRemote({ kind: "remote", servers: [place] });
  const error = await assertRejects(() => store.snapshot(), StoreError);
  assertStringIncludes(
    error.message,
    `there is no flanneld -listen of this version at ${place}: it answers 404`,
  );
  assertEquals(lines, []);
});

Deno.test("openRemote() names the cause when servers take turns behind one address", async () => {
  await using backing = makeEmbeddedLab();
  const stop = new AbortController();
  const listeners = [0, 1].map(() => Deno.listen({ hostname: "127.0.0.1", port: 0 }));
  const serving = listeners.map((listener) =>
    serveLeases({
      connections: listener,
      networks: { open: (network) => backing.open(`/${network}`) },
      signal: stop.signal,
    })
  );
  let turn = 0;
  const address = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    (request) => {
      const { pathname, search } = new URL(request.url);
      const { port } = listeners[turn++ % 2]!.addr;
      return fetch(`http://127.0.0.1:${port}${pathname}${search}`);
    },
  );
  try {
    await using store = await openRemote({
      kind: "remote",
      servers: [`127.0.0.1:${address.addr.port}`],
    });
    const { cursor } = await store.snapshot();
    const reported = Promise.withResolvers<Error>();
    const items = store.watch(cursor, {
      signal: stop.signal,
      onState: (error) => error && reported.resolve(error),
    });
    const watching = (async () => {
      for await (const item of items) assertEquals(item.type, "resync");
    })();
    assertStringIncludes(
      (await reported.promise).message,
      "if several servers share this address, list each",
    );
    stop.abort();
    await watching;
  } finally {
    stop.abort();
    await Promise.all(serving);
    await address.shutdown();
  }
});
