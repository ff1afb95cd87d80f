import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { type Certificates, makeCertificates } from "../../../tests/lab/certificates.ts";
import { TlsError } from "./openssl.ts";
import { TlsServer } from "./tls_server.ts";

/** Returns bytes to accepted clients; records errors and refused handshakes. */
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

/** Passes bytes on to a port, and others besides. */
class Tampering implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #running: Promise<void>;
  #last: Deno.TcpConn | undefined;

  constructor(port: number) {
    this.#running = this.#run(port);
  }

  get port(): number {
    return this.#listener.addr.port;
  }

  /** Sends bytes to the port, on the connection that was made last. */
  async tamper(bytes: Uint8Array): Promise<void> {
    await this.#last!.write(bytes);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.#running;
  }

  async #run(port: number): Promise<void> {
    const passing: Promise<void>[] = [];
    for await (const client of this.#listener) {
      const server = this.#last = await Deno.connect({ hostname: "127.0.0.1", port });
      // Each end closes what it writes to.
      passing.push(
        client.readable.pipeTo(server.writable).catch(() => {}),
        server.readable.pipeTo(client.writable).catch(() => {}),
      );
    }
    await Promise.all(passing);
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

Deno.test("TlsServer accepts the clients that its files allow", async (t) => {
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
    // A port scanner is not refused.
    (await Deno.connect({ hostname: "127.0.0.1", port: echo.port })).close();
    assertEquals(await exchange(echo.port, { caCerts }, "hello"), "hello");
    assertEquals([echo.failures, echo.refusals], [[], []]);
  });

  await t.step("reports why clients refuse its certificate", async () => {
    using server = new TlsServer(files.server);
    await using echo = new EchoServer(server);
    const options = { hostname: "127.0.0.1", port: echo.port, caCerts: [stranger.cert] };
    const connection = await Deno.connectTls(options);
    await assertRejects(() => connection.handshake(), Error, "UnknownIssuer");
    connection.close();
    for (const until = Date.now() + 60_000; echo.refusals.length === 0 && Date.now() < until;) {
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

  await t.step("reports data that is not TLS", async () => {
    using server = new TlsServer(files.server);
    await using echo = new EchoServer(server);
    const plain = await Deno.connect({ hostname: "127.0.0.1", port: echo.port });
    await plain.write(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"));
    while (await plain.read(new Uint8Array(100)) !== null);
    plain.close();
    assertEquals(echo.failures, ["http request"]);
  });

  await t.step("has no connection fail by the error of another one", async () => {
    using server = new TlsServer(files.server);
    await using echo = new EchoServer(server);
    await using proxy = new Tampering(echo.port);
    const bystander = await Deno.connectTls({ hostname: "127.0.0.1", port: echo.port, caCerts });
    await bystander.handshake();
    for (let round = 0; round < 20; round++) {
      const victim = await Deno.connectTls({ hostname: "127.0.0.1", port: proxy.port, caCerts });
      await victim.handshake();
      // No record, and after the handshake: SSL_read(3) fails for good.
      await proxy.tamper(new Uint8Array(64).fill(0x80));
      while (await victim.read(new Uint8Array(100)).catch(() => null) !== null);
      victim.close();
      assertEquals(await exchange(echo.port, { caCerts }, "hello"), "hello", `round ${round}`);
    }
    await bystander.write(new TextEncoder().encode("still"));
    assertEquals(await bystander.read(new Uint8Array(10)), 5);
    bystander.close();
    assertEquals(echo.failures.length, 20, echo.failures.join());
  });

  await t.step("takes TLS 1.2 and 1.3, and no older version", async () => {
    using server = new TlsServer(files.server);
    await using echo = new EchoServer(server);
    const accepts = async (version: string) => {
      // OpenSSL offers the old versions at security level 0 alone (SSL_CTX_set_security_level(3)).
      const offer = [version, "-cipher", "DEFAULT@SECLEVEL=0", "-verify_return_error"];
      const { success } = await new Deno.Command("openssl", {
        args: [
          ...["s_client", ...offer, "-CAfile", files.ca],
          ...["-connect", `127.0.0.1:${echo.port}`],
        ],
        ...{ stdin: "null", stdout: "null", stderr: "null" },
      }).output();
      return success;
    };
    const versions = ["-tls1", "-tls1_1", "-tls1_2", "-tls1_3"];
    assertEquals(await Promise.all(versions.map(accepts)), [false, false, true, true]);
  });

  await t.step("refuses to make the handshake again", async () => {
    using server = new TlsServer(files.server);
    await using echo = new EchoServer(server);
    const client = new Deno.Command("openssl", {
      args: ["s_client", "-tls1_2", "-connect", `127.0.0.1:${echo.port}`, "-CAfile", files.ca],
      ...{ stdin: "piped", stdout: "piped", stderr: "piped" },
    }).spawn();
    const writer = client.stdin.getWriter();
    // By itself on a line this has s_client(1) ask for a renegotiation.
    await writer.write(new TextEncoder().encode("R\n"));
    // It ends when the server refuses.
    const late = setTimeout(() => client.kill("SIGKILL"), 60_000);
    const { stderr } = await client.output();
    clearTimeout(late);
    await writer.close().catch(() => {});
    const text = new TextDecoder().decode(stderr);
    assert(/RENEGOTIATING/.test(text) && /no renegotiation/.test(text), text);
  });

  await t.step("fails one connection alone when OpenSSL has no part for it", async () => {
    const server = new TlsServer(files.server);
    await using echo = new EchoServer(server);
    assertEquals(await exchange(echo.port, { caCerts }, "hello"), "hello");
    server[Symbol.dispose]();
    const plain = await Deno.connect({ hostname: "127.0.0.1", port: echo.port });
    await plain.write(Uint8Array.of(0x16));
    assertEquals(await plain.read(new Uint8Array(1)), null);
    plain.close();
    assertEquals(echo.failures, ["the server is closed"]);
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
