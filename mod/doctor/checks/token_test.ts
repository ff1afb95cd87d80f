import { assertEquals } from "@std/assert";
import type { HostFacts } from "../host_facts.ts";
import { tokenCheck } from "./token.ts";

Deno.test("tokenCheck warns of a token that is sent without TLS", async () => {
  const run = async (store: Record<string, unknown>) =>
    await tokenCheck.run({ options: { store } } as unknown as HostFacts);
  const remote = { kind: "remote", servers: ["192.0.2.1:8888"], tokenFile: "token" };
  const { verdict, summary } = await run(remote);
  assertEquals(verdict, "warning");
  assertEquals(summary, "192.0.2.1:8888: without TLS everybody on the path can read the token");
  assertEquals((await run({ ...remote, caFile: "ca" })).verdict, "ok");
  assertEquals((await run({ ...remote, tokenFile: undefined })).verdict, "ok");
  assertEquals((await run({ kind: "etcd" })).verdict, "ok");
});
