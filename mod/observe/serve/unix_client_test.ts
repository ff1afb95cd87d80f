import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { parseResponse, UnixRequestError } from "./unix_client.ts";

const encoder = new TextEncoder();

function parse(text: string) {
  return parseResponse(encoder.encode(text));
}

Deno.test("parseResponse() reads a body by its length, in chunks, or to the end", () => {
  const expected = { status: 200, body: "hello" };
  assertEquals(parse("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), expected);
  assertEquals(parse("HTTP/1.1 200 OK\r\n\r\nhello"), expected);
  assertEquals(
    parse("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
    expected,
  );
  assertEquals(parse("HTTP/1.0 503 x\r\ncontent-length: 0\r\n\r\n"), { status: 503, body: "" });
});

Deno.test("parseResponse() reads back what was cut into chunks anywhere", () => {
  const chunks = fc.array(fc.string({ unit: "binary", minLength: 1 }));
  fc.assert(fc.property(chunks, (chunks) => {
    const parts = chunks.map((chunk) => {
      const size = encoder.encode(chunk).length.toString(16);
      return `${size}\r\n${chunk}\r\n`;
    });
    const text = `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${parts.join("")}0\r\n\r\n`;
    assertEquals(parse(text).body, new TextDecoder().decode(encoder.encode(chunks.join(""))));
  }));
});

Deno.test("parseResponse() takes no part for the whole, whatever is missing", () => {
  const whole = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
  for (let length = 0; length < whole.length - "\r\n".length - 1; length++) {
    assertThrows(() => parse(whole.slice(0, length)), UnixRequestError);
  }
  assertThrows(() => parse("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell"), UnixRequestError);
  assertThrows(() => parse("SSH-2.0-OpenSSH\r\n\r\n"), UnixRequestError, "not an HTTP response");
  assertThrows(() => parse("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"), UnixRequestError);
  const bad = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
  assertThrows(() => parse(bad), UnixRequestError, "not a chunk's size");
});

Deno.test("parseResponse() throws its own error whatever the bytes", () => {
  fc.assert(fc.property(fc.uint8Array(), (bytes) => {
    try {
      parseResponse(bytes);
    } catch (error) {
      if (!(error instanceof UnixRequestError)) throw error;
    }
  }));
});
