import { assertEquals, assertRejects } from "@std/assert";
import { textResponse } from "./pages.ts";
import { getUnix, HttpClientError } from "../../http/client.ts";
import { removeStaleSocket, serveUnix, SocketError } from "./unix_server.ts";

const LONG = "äöü".repeat(200_000);

/** A socket with a directory of its own, until it is disposed of. */
async function place() {
  const dir = await Deno.makeTempDir();
  const abort = new AbortController();
  const pages = {
    "/": () => textResponse("here"),
    "/long": () => textResponse(LONG),
    "/stream": () =>
      new Response(ReadableStream.from(["a", "bc"]).pipeThrough(new TextEncoderStream())),
    "/never": () => new Promise<Response>(() => {}),
  };
  return {
    dir,
    path: `${dir}/flanneld.sock`,
    abort,
    serve: (path = `${dir}/flanneld.sock`) => serveUnix({ path, pages, signal: abort.signal }),
    [Symbol.asyncDispose]: async () => {
      abort.abort();
      await Deno.remove(dir, { recursive: true });
    },
  };
}

Deno.test("serveUnix() serves on a socket that its owner alone can open", async () => {
  await using at = await place();
  const before = Deno.umask(0);
  await at.serve();
  assertEquals(Deno.umask(before), 0);
  assertEquals((await Deno.stat(at.path)).mode! & 0o777, 0o600);
  assertEquals(await getUnix(at.path, "/"), { status: 200, body: "here\n" });
  assertEquals((await getUnix(at.path, "/nothing")).status, 404);
  assertEquals((await getUnix(at.path, "/long")).body, `${LONG}\n`);
  assertEquals((await getUnix(at.path, "/stream")).body, "abc");
  at.abort.abort();
  await assertRejects(() => Deno.lstat(at.path), Deno.errors.NotFound);
});

Deno.test("serveUnix() replaces what a dead process left, and nothing else", async () => {
  await using at = await place();
  await new Deno.Command(Deno.execPath(), {
    args: [
      "eval",
      `Deno.listen({ transport: "unix", path: ${
        JSON.stringify(at.path)
      } }); Deno.kill(Deno.pid, "SIGKILL")`,
    ],
  }).output();
  assertEquals((await Deno.lstat(at.path)).isSocket, true);
  await assertRejects(() => getUnix(at.path, "/"), Deno.errors.ConnectionRefused);
  await at.serve();
  assertEquals((await getUnix(at.path, "/")).status, 200);
  assertEquals(await removeStaleSocket(at.path), true);
  assertEquals((await getUnix(at.path, "/")).status, 200);

  await assertRejects(() => at.serve(), SocketError, "another process does");
  await Deno.writeTextFile(`${at.dir}/file`, "mine");
  await assertRejects(() => at.serve(`${at.dir}/file`), SocketError, "no socket");
  assertEquals(await Deno.readTextFile(`${at.dir}/file`), "mine");
  await assertRejects(() => at.serve(`${at.dir}/not/there`), SocketError, "cannot serve on");
  await assertRejects(() => at.serve(`${at.dir}/${"x".repeat(200)}`), SocketError, "cannot serve");
});

Deno.test("getUnix() reports when nobody listens, when no answer comes, and when it is aborted", async () => {
  await using at = await place();
  await assertRejects(() => getUnix(at.path, "/"), Deno.errors.NotFound);
  await at.serve();
  await assertRejects(
    () => getUnix(at.path, "/never", { timeoutMs: 30 }),
    HttpClientError,
    "within 0.03 s",
  );
  const abort = new AbortController();
  setTimeout(() => abort.abort(new Error("enough")), 20);
  await assertRejects(() => getUnix(at.path, "/never", { signal: abort.signal }), Error, "enough");
});
