import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import { HttpClientError, parseResponse, requestHttp } from "./client.ts";

const encode = (text: string) => new TextEncoder().encode(text);

Deno.test("parseResponse() knows the end of an answer by length, by chunks, and by the connection's end", () => {
  const head = "HTTP/1.1 200 OK\r\n";
  for (
    const [text, isEnd, body] of [
      [`${head}Content-Length: 3\r\n\r\nabc`, false, "abc"],
      [`${head}content-length:3\r\n\r\nabcd`, false, "abc"],
      [`${head}Content-Length: 4\r\n\r\nabc`, true, undefined],
      [`${head}Transfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n1\r\nd\r\n0\r\n\r\n`, false, "abcd"],
      [`${head}Transfer-Encoding: chunked\r\n\r\n3\r\nab`, true, undefined],
      [`${head}\r\nabc`, false, undefined],
      [`${head}\r\nabc`, true, "abc"],
      [`${head}Content-Length: 0\r\n\r\n`, false, ""],
      ["HTTP/1.1 200 OK\r\n", true, undefined],
      ["HTTP/1.0 503 x\r\ncontent-length: 0\r\n\r\n", false, ""],
    ] as const
  ) assertEquals(parseResponse(encode(text), isEnd)?.body, body, text);
  assertEquals(
    parseResponse(encode("HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n"), true)?.status,
    404,
  );
});

Deno.test("parseResponse() refuses what is not HTTP", () => {
  for (
    const text of [
      "SSH-2.0-x\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    ]
  ) assertThrows(() => parseResponse(encode(text), true), HttpClientError);
});

Deno.test("parseResponse() joins any chunks to what was cut into them", () => {
  fc.assert(fc.property(fc.array(fc.uint8Array({ minLength: 1 })), (parts) => {
    const chunks = parts.flatMap((part) => [
      ...encode(`${part.length.toString(16)}\r\n`),
      ...part,
      ...encode("\r\n"),
    ]);
    const head = encode("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    const bytes = Uint8Array.from([...head, ...chunks, ...encode("0\r\n\r\n")]);
    const whole = Uint8Array.from(parts.flatMap((part) => [...part]));
    assertEquals(parseResponse(bytes, false)?.body, new TextDecoder().decode(whole));
    assertEquals(parseResponse(bytes.subarray(0, bytes.length - 5), false), undefined);
  }));
});

Deno.test("parseResponse() takes no part for the whole, whatever is missing", () => {
  const whole = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
  for (let length = 0; length < whole.length; length++) {
    assertEquals(parseResponse(encode(whole.slice(0, length)), true), undefined);
  }
  assertEquals(parseResponse(encode(whole), true)?.body, "hello");
});

Deno.test("parseResponse() throws its own error whatever the bytes", () => {
  fc.assert(fc.property(fc.uint8Array(), fc.boolean(), (bytes, isEnd) => {
    try {
      parseResponse(bytes, isEnd);
    } catch (error) {
      if (!(error instanceof HttpClientError)) throw error;
    }
  }));
});

Deno.test("requestHttp() asks a server itself, whatever proxy the environment names", async () => {
  const seen: string[] = [];
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    (request) => {
      seen.push(`${request.method} ${new URL(request.url).pathname} ${request.headers.get("x-a")}`);
      return new Response("token", { status: 201 });
    },
  );
  const script = `
    import { requestHttp } from ${JSON.stringify(import.meta.resolve("./client.ts"))};
    const url = new URL("http://127.0.0.1:${server.addr.port}/latest");
    const { signal } = new AbortController();
    for (const method of ["GET", "PUT"]) {
      console.log(JSON.stringify(await requestHttp(url, { method, headers: { "x-a": "b" }, signal })));
    }
  `;
  // A process of its own: the environment is that of all tests.
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", `data:text/javascript,${encodeURIComponent(script)}`],
    env: { HTTP_PROXY: "http://127.0.0.1:9", http_proxy: "http://127.0.0.1:9" },
    stderr: "inherit",
  }).output();
  const answer = '{"status":201,"body":"token"}\n';
  assertEquals(new TextDecoder().decode(stdout), answer + answer);
  assertEquals(seen, ["GET /latest b", "PUT /latest b"]);
});

Deno.test("requestHttp() ends with its signal, and refuses what is not http", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepting = listener.accept();
  const url = new URL(`http://127.0.0.1:${listener.addr.port}/`);
  const error = await assertRejects(() => requestHttp(url, { signal: AbortSignal.timeout(100) }));
  assertEquals((error as DOMException).name, "TimeoutError");
  (await accepting).close();
  const { signal } = new AbortController();
  await assertRejects(() => requestHttp(new URL("https://127.0.0.1/"), { signal }), TypeError);
});
