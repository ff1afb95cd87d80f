import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { EtcdServer } from "../../tests/lab/etcd.ts";
import { configureLog } from "../observe/log.ts";
import { makeEmbeddedLab } from "./embedded_lab.ts";
import { StoreError } from "./errors.ts";
import { openRemote } from "./remote.ts";
import { makeRemoteLab } from "./remote_lab.ts";
import { storeCases } from "./store_cases.ts";

storeCases("remote", () => makeRemoteLab(makeEmbeddedLab()), { access: "none" });

Deno.test("openRemote() says of an etcd that there is no flanneld, and not that it is an old one", async () => {
  const lines: string[] = [];
  configureLog({ write: (line) => lines.push(line) });
  await using etcd = await EtcdServer.start({ v2: false });
  const place = new URL(etcd.endpoint).host;
  await using store = await openRemote({ kind: "remote", servers: [place] });
  const error = await assertRejects(() => store.snapshot(), StoreError);
  assertStringIncludes(error.message, `there is no flanneld -listen at ${place}`);
  assertEquals(lines, []);
});
