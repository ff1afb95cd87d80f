import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { type Certificates, makeCertificates } from "../../tests/lab/certificates.ts";
import { TlsError, TlsServer } from "./tls_server.ts";

/** Echoes what it reads to whoever gets in; keeps what failed, and which handshakes were refused. */
class EchoServer implements AsyncDisposable {
  readonly failures: string[] = [];
  readonly refusals: string[] = [];
  /** Of the clients that got in, in turn. */
  readonly subjects: (string | undefined)[] = [];
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #running: Promise<void>;

  constructor(server: TlsServer) {
    this.#running = this.#run(server);
  }

  get port(): number {
    return this.#listener.addr.port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.#running;
  }

  async #run(server: TlsServer): Promise<void> {
    const serving: Promise<void>[] = [];
    for await (const plain of this.#listener) {
      const connection = server.wrap(plain, ({ message }) => this.refusals.push(message));
      serving.push((async () => {
        const buffer = new Uint8Array(1000);
        try {
          for (let count; (count = await connection.read(buffer)) !== null;) {
            if (count === "who am I".length) this.subjects.push(connection.subject);
            for (let at = 0; at < count;) {
              at += await connection.write(buffer.subarray(at, count));
            }
          }
        } catch (error) {
          this.failures.push((error as Error).message);
        }
        connection.close();
      })());
    }
    await Promise.all(serving);
  }
}

/** Sends a text, and reads as much back. */
async function exchange(
  port: number,
  options: Partial<Deno.ConnectTlsOptions & Deno.TlsCertifiedKeyPem>,
  text: string,
): Promise<string> {
  const connection = await Deno.connectTls({ hostname: "127.0.0.1", port, ...options });
  try {
    const bytes = new TextEncoder().encode(text);
    const sending = (async () => {
      for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
    })();
    const back = new Uint8Array(bytes.length);
    for (let at = 0; at < back.length;) {
      const count = await connection.read(back.subarray(at));
      if (count === null) throw new Error("the server closed the connection");
      at += count;
    }
    await sending;
    return new TextDecoder().decode(back);
  } finally {
    connection.close();
  }
}

Deno.test("TlsServer lets in whom it is told to", async (t) => {
  const directory = await Deno.makeTempDir({ prefix: "tls-" });
  try {
    const certificates = await makeCertificates(directory);
    await cases(t, certificates);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

async function cases(t: Deno.TestContext, files: Certificates): Promise<void> {
  const read = (path: string) => Deno.readTextFile(path);
  const caCerts = [await read(files.ca)];
  const client = { cert: await read(files.client.cert), key: await read(files.client.key) };
  const stranger = {
    cert: await read(files.otherCa),
    key: await read(files.otherCa.replace(".pem", "-key.pem")),
  };
  const text = "x".repeat(100_000);

  await t.step("carries bytes both ways, more than a record holds", async () => {
    using server = new TlsServer(files.server);
    await using echo = new EchoServer(server);
    assertEquals(await exchange(echo.port, { caCerts }, text), text);
    assertEquals(await exchange(echo.port, { caCerts, ...client }, "hello"), "hello");
    // Whoever looks whether the port is open is not refused.
    (await Deno.connect({ hostname: "127.0.0.1", port: echo.port })).close();
    assertEquals(await exchange(echo.port, { caCerts }, "hello"), "hello");
    assertEquals([echo.failures, echo.refusals], [[], []]);
  });

  await t.step("tells why clients refuse its certificate", async () => {
    using server = new TlsServer(files.server);
    await using echo = new EchoServer(server);
    const options = { hostname: "127.0.0.1", port: echo.port, caCerts: [stranger.cert] };
    const connection = await Deno.connectTls(options);
    await assertRejects(() => connection.handshake(), Error, "UnknownIssuer");
    connection.close();
    for (const until = Date.now() + 5_000; echo.refusals.length === 0 && Date.now() < until;) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assert(/alert unknown ca$/.test(echo.refusals[0]!), echo.refusals[0]);
  });

  await t.step("with a CA refuses who has no certificate, or another CA's", async () => {
    using server = new TlsServer({ ...files.server, ca: files.ca });
    await using echo = new EchoServer(server);
    assertEquals(await exchange(echo.port, { caCerts, ...client }, text), text);
    for (const credentials of [{}, stranger]) {
      await assertRejects(() => exchange(echo.port, { caCerts, ...credentials }, "hello"));
    }
    assertEquals(echo.failures.length, 2);
    assert(/did not return a certificate/.test(echo.failures[0]!), echo.failures[0]);
    assert(/certificate verify failed: self-signed cert/.test(echo.failures[1]!), echo.failures[1]);
    assertEquals(echo.refusals, echo.failures);
    // Those before have left nothing behind.
    assertEquals(await exchange(echo.port, { caCerts, ...client }, "hello"), "hello");
  });

  await t.step("names the subject of a client's certificate, which was verified", async () => {
    using server = new TlsServer({ ...files.server, ca: files.ca });
    await using echo = new EchoServer(server);
    await exchange(echo.port, { caCerts, ...client }, "who am I");
    assertEquals(echo.subjects, ["/CN=client"]);
    // Without a CA nothing was verified, and nobody asked for a certificate.
    using open = new TlsServer(files.server);
    await using openEcho = new EchoServer(open);
    await exchange(openEcho.port, { caCerts, ...client }, "who am I");
    assertEquals(openEcho.subjects, [undefined]);
  });

  await t.step("says what comes that is not TLS", async () => {
    using server = new TlsServer(files.server);
    await using echo = new EchoServer(server);
    const plain = await Deno.connect({ hostname: "127.0.0.1", port: echo.port });
    await plain.write(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"));
    while (await plain.read(new Uint8Array(100)) !== null);
    plain.close();
    assertEquals(echo.failures, ["http request"]);
  });

  await t.step("names the file that it cannot use", () => {
    const wrong = { ...files.server, key: files.client.key };
    const error = assertThrows(() => new TlsServer(wrong), TlsError);
    assert(error.message.startsWith(`${files.client.key} cannot be used: `), error.message);
    assertThrows(
      () => new TlsServer({ ...files.server, cert: "/none.pem" }),
      TlsError,
      "/none.pem",
    );
  });
}
