import { assert, assertEquals, assertRejects } from "@std/assert";
import { EtcdServer } from "../lab/etcd/etcd.ts";
import { StoreUnavailableError } from "../../mod/store/errors.ts";
import { compareClock } from "../../mod/store/etcd/clock.ts";
import type { EtcdOptions } from "../../mod/store/etcd/options.ts";

function options(endpoint: string): EtcdOptions {
  return { endpoints: [endpoint], prefix: "/flannel/network", api: "auto" };
}

Deno.test("compareClock() finds that two processes of one machine have one clock", async () => {
  await using etcd = await EtcdServer.start();
  const { least, most, endpoint } = (await compareClock(options(etcd.endpoint)))!;
  assert(least <= 0 && most >= 0 && most - least < 3000, `${least} to ${most} ms`);
  assertEquals(endpoint, etcd.endpoint);
});

Deno.test("compareClock() measures how far etcd's clock is ahead, and rejects when nothing answers", async () => {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => new Response("{}", { headers: { date: new Date(Date.now() + 90_000).toUTCString() } }),
  );
  const url = `http://127.0.0.1:${server.addr.port}`;
  const { least, most } = (await compareClock(options(url)))!;
  assert(least > 88_000 && least <= 90_000 && most >= 90_000 && most < 93_000, `${least} ${most}`);
  await server.shutdown();
  await assertRejects(() => compareClock(options(url)), StoreUnavailableError);
});
