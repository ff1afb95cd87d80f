import { assertEquals } from "@std/assert";
import { configureLog } from "../observe/log/log.ts";
import { StoreUnavailableError } from "../store/mod.ts";
import { ServedNetworks } from "./networks.ts";
import { makeHandler } from "./router.ts";

Deno.test("makeHandler() logs why the store could not be asked, beside the request's line", async () => {
  const lines: string[] = [];
  configureLog({ write: (line) => lines.push(line) });
  await using networks = new ServedNetworks({
    open: () => Promise.reject(new StoreUnavailableError("nobody answers")),
  });
  const handle = makeHandler(networks, { polls: 1, pollsPerAddress: 1 });
  for (const [target, status] of [["/v1/_/store", 503]] as const) {
    lines.length = 0;
    const request = {
      ...{ method: "GET", target, path: target, query: new URLSearchParams(), body: "" },
      ...{ contentLength: 0, expectsContinue: false, keepAlive: true },
      ...{ headers: new Map(), authority: undefined, peer: { address: "192.0.2.1" } },
    };
    assertEquals((await handle(request, new AbortController().signal)).status, status);
    assertEquals(lines.map((line) => line.replace(/^.*?\] /, "").trimEnd()), [
      "The store cannot be reached for the clients of -listen: nobody answers",
      `GET ${target} - ${status}`,
    ]);
  }
});
