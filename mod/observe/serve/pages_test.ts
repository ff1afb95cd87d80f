import { assertEquals } from "@std/assert";
import { answer, type Pages, textResponse } from "./pages.ts";
import { captureLog } from "../testing/log_lab.ts";

const PAGES: Pages = {
  "/": () =>
    new Response("<p>", { headers: { "content-type": "text/html", "cache-control": "x" } }),
  "/a": (url) => textResponse(`asked for ${url.searchParams.get("n")}`),
  "/fails": () => {
    throw new Error("no such thing");
  },
};

function ask(path: string, init: RequestInit = {}): Promise<Response> {
  return answer(PAGES, new Request(`http://localhost${path}`, init));
}

Deno.test("answer() picks the page of the path, and hands the query on", async () => {
  const response = await ask("/a?n=5");
  assertEquals([response.status, await response.text()], [200, "asked for 5\n"]);
  assertEquals(response.headers.get("cache-control"), "no-store");
  assertEquals(response.headers.get("x-content-type-options"), "nosniff");
  assertEquals((await ask("/")).headers.get("cache-control"), "x");
});

Deno.test("answer() lists the pages when another is requested", async () => {
  for (const path of ["/b", "/a/", "/toString", "//a"]) {
    const response = await ask(path);
    assertEquals(response.status, 404, path);
    assertEquals(await response.text(), "not found: there are /, /a, /fails\n");
  }
});

Deno.test("answer() takes GET and HEAD alone", async () => {
  const head = await ask("/a", { method: "HEAD" });
  assertEquals([head.status, await head.text()], [200, ""]);
  const post = await ask("/a", { method: "POST", body: "x" });
  assertEquals([post.status, post.headers.get("allow")], [405, "GET, HEAD"]);
});

Deno.test("answer() logs the failure of a page, and does not send it to the client", async () => {
  using log = captureLog();
  const response = await ask("/fails");
  assertEquals([response.status, await response.text()], [500, "this failed; see the log\n"]);
  assertEquals(log.lines, ["W Cannot answer /fails: no such thing"]);
});

Deno.test("answer() refuses names that are not this host's where it knows its own", async () => {
  for (
    const [host, status] of [
      ["localhost", 200],
      ["host1", 200],
      ["127.0.0.1", 200],
      ["[::1]", 200],
      ["evil.example.com", 421],
      ["localhost.example.com", 421],
      ["127.0.0.1.example.com", 421],
    ] as const
  ) {
    const response = await answer(PAGES, new Request(`http://${host}:8080/`), {
      hostNames: new Set(["localhost", "host1"]),
    });
    assertEquals(response.status, status, host);
  }
});
