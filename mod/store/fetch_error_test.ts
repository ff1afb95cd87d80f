import { assert, assertEquals } from "@std/assert";
import { freePort } from "../../tests/lab/etcd/etcd.ts";
import { describeFetchError } from "./fetch_error.ts";

Deno.test("describeFetchError() keeps the reason of each runtime's error and drops its URL", () => {
  const url = "http://127.0.0.1:2379/v2/keys/x?y";
  const refused = "Connection refused (os error 111)";
  for (
    const [error, expected] of [
      [
        new TypeError(
          `error sending request for url (${url}): client error (Connect): tcp connect error:` +
            ` ${refused}: ${refused}`,
        ),
        refused,
      ],
      [
        new TypeError("fetch failed", {
          cause: new Error(
            `error sending request for url (${url}): client error (Connect): tcp connect error:` +
              ` ${refused}`,
          ),
        }),
        refused,
      ],
      [
        new TypeError("fetch failed", {
          cause: new Error(
            `error sending request from 127.0.0.1:50000 for ${url} (127.0.0.1:2379): client error` +
              " (SendRequest): connection closed before message completed",
          ),
        }),
        "connection closed before message completed",
      ],
      [
        new TypeError("error reading a body from connection"),
        "error reading a body from connection",
      ],
      [new Error("no answer within 3 s"), "no answer within 3 s"],
      ["odd", "odd"],
    ] as const
  ) assertEquals(describeFetchError(error), expected);
});

Deno.test("describeFetchError() describes a real refusal", async () => {
  const error = await fetch(`http://127.0.0.1:${freePort()}/v2/keys/x`).catch((error) => error);
  assertEquals(describeFetchError(error), "Connection refused (os error 111)");
});

Deno.test("describeFetchError() names the option that fixes a TLS failure", () => {
  const describe = (reason: string, caFile?: string) =>
    describeFetchError(
      new TypeError(
        `error sending request for url (https://h/): client error (Connect): ${reason}`,
      ),
      { caFile },
    );
  const untrusted = "invalid peer certificate: UnknownIssuer";
  assert(describe(untrusted).includes("name the CA with -etcd-cafile"));
  assert(describe(untrusted, "/etc/ca.pem").includes("-etcd-cafile /etc/ca.pem"));
  assert(describe(untrusted).endsWith(`(${untrusted})`));
  assert(describe("received fatal alert: CertificateRequired").includes("-etcd-certfile"));
  assert(describe("tls handshake eof").includes("http://"));
});

Deno.test("describeFetchError() recognizes expired certificates, and http instead of https", () => {
  const describe = (reason: string, url = "https://h:2379") =>
    describeFetchError(new TypeError(reason), { url });
  const expired = "invalid peer certificate: certificate expired: verification time 1795542933";
  assertEquals(
    describe(expired),
    `its certificate has run out, or this host's clock is wrong (${expired})`,
  );
  assert(describe("invalid peer certificate: Expired").includes("has run out"));
  assert(describe("invalid peer certificate: NotValidYet").includes("not valid yet"));
  assert(describe("received fatal alert: UnknownCA").includes("a CA that the server trusts"));
  assert(describe("unexpected end of file").includes("is it http:// ?"));
  for (const closed of ["connection closed before message completed", "the server closed the x"]) {
    assert(describe(closed, "http://h:2379").includes("is it https:// ?"));
    assertEquals(describe(closed), closed);
  }
});

Deno.test("describeFetchError() names the flags of -remote for TLS, which has no URLs", () => {
  const describe = (reason: string, url: string) =>
    describeFetchError(new TypeError(reason), { flags: "-remote", url });
  const closed = "connection closed before message completed";
  assertEquals(
    describe(closed, "http://h:8888"),
    `the server closed the connection; if it has TLS, give -remote-cafile (${closed})`,
  );
  assert(describe("tls handshake eof", "https://h:8888").includes("leave out -remote-cafile"));
});

Deno.test("describeFetchError() recognizes a CA's certificate that a server shows as its own", () => {
  const text = describeFetchError(
    new TypeError("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))"),
  );
  assert(text.startsWith("its certificate is a CA's own (CA:TRUE)"), text);
});

Deno.test("describeFetchError() asks for no other scheme of a server that has answered before", () => {
  for (
    const [text, url] of [
      ["the server closed the connection", "http://h:2379"],
      ["connection closed before message completed", "http://h:2379"],
      ["tls handshake eof", "https://h:2379"],
      ["unexpected end of file", "https://h:2379"],
    ] as const
  ) {
    for (const flags of ["-etcd", "-remote"] as const) {
      assertEquals(describeFetchError(new Error(text), { url, flags, hasAnswered: true }), text);
      assert(describeFetchError(new Error(text), { url, flags }) !== text);
    }
  }
});
