import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { HttpError, parseHead } from "./head.ts";

Deno.test("parseHead() reads what Go's client and curl send", () => {
  const head = parseHead(
    "GET /v1/_/leases?next=a%2Eb HTTP/1.1\r\nHost: h:1\r\nUser-Agent: Go-http-client/1.1\r\n\r\n",
  );
  assertEquals(
    [head.method, head.target, head.path, head.query.get("next"), head.keepAlive],
    ["GET", "/v1/_/leases?next=a%2Eb", "/v1/_/leases", "a.b", true],
  );
  const closing = parseHead("PUT http://h/x HTTP/1.1\nConnection: Close\ncontent-length: 7\n\n");
  assertEquals([closing.path, closing.contentLength, closing.keepAlive], ["/x", 7, false]);
  assertEquals(parseHead("GET / HTTP/1.0\r\n\r\n").keepAlive, false);
});

Deno.test("parseHead() refuses what could be read in two ways, or not at all", () => {
  const cases: readonly (readonly [string, number])[] = [
    ["hello\r\n\r\n", 400],
    ["GET / HTTP/2.0\r\n\r\n", 505],
    ["GET x HTTP/1.1\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nno colon\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nA : b\r\n\r\n", 400],
    ["PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400],
    ["PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400],
    ["PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411],
  ];
  for (const [text, status] of cases) {
    assertEquals(assertThrows(() => parseHead(text), HttpError).status, status, text);
  }
});

Deno.test("parseHead() throws nothing but HttpError, whatever the text", () => {
  const lines = fc.array(fc.oneof(fc.string(), fc.constantFrom("Host: a", "Content-Length: 1")));
  const text = fc.tuple(fc.constantFrom("GET / HTTP/1.1", "", "PUT /a?b=%zz HTTP/1.1"), lines)
    .map(([start, more]) => [start, ...more, "", ""].join("\r\n"));
  fc.assert(fc.property(fc.oneof(fc.string(), text), (value) => {
    try {
      parseHead(value);
    } catch (error) {
      if (!(error instanceof HttpError)) throw error;
    }
  }));
});
