import { assert, assertEquals } from "@std/assert";
import { freePort } from "../../tests/lab/etcd.ts";
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

Deno.test("describeFetchError() names the option that cures a TLS failure", () => {
  const describe = (reason: string, caFile?: string) =>
    describeFetchError(
      new TypeError(
        `error sending request for url (https://h/): client error (Connect): ${reason}`,
      ),
      caFile,
    );
  const untrusted = "invalid peer certificate: UnknownIssuer";
  assert(describe(untrusted).includes("name the CA with -etcd-cafile"));
  assert(describe(untrusted, "/etc/ca.pem").includes("-etcd-cafile /etc/ca.pem"));
  assert(describe(untrusted).endsWith(`(${untrusted})`));
  assert(describe("received fatal alert: CertificateRequired").includes("-etcd-certfile"));
  assert(describe("tls handshake eof").includes("http://"));
});
