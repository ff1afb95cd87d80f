import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { percentEncode, signRequest } from "./sigv4.ts";

/** Of AWS's published test suite for Signature Version 4 (aws-sig-v4-test-suite). */
const CREDENTIALS = {
  accessKeyId: "AKIDEXAMPLE",
  secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
};

const SCOPE = {
  region: "us-east-1",
  service: "service",
  time: new Date("2015-08-30T12:36:00Z"),
};

const FORM = "application/x-www-form-urlencoded";

interface Vector {
  readonly name: string;
  readonly method: string;
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signed?: string;
  readonly signature: string;
}

/** By the names of the suite. */
const VECTORS: readonly Vector[] = [
  {
    name: "get-vanilla",
    method: "GET",
    url: "https://example.amazonaws.com/",
    signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
  },
  {
    name: "get-vanilla-query-order-key-case",
    method: "GET",
    url: "https://example.amazonaws.com/?Param2=value2&Param1=value1",
    signature: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
  },
  {
    name: "get-vanilla-query-unreserved",
    method: "GET",
    url:
      "https://example.amazonaws.com/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrst" +
      "uvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    signature: "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
  },
  {
    name: "get-header-value-trim",
    method: "GET",
    url: "https://example.amazonaws.com/",
    headers: { "My-Header1": " value1", "My-Header2": ' "a   b   c"' },
    signed: "host;my-header1;my-header2;x-amz-date",
    signature: "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
  },
  {
    name: "post-vanilla",
    method: "POST",
    url: "https://example.amazonaws.com/",
    signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
  },
  {
    name: "post-x-www-form-urlencoded",
    method: "POST",
    url: "https://example.amazonaws.com/",
    headers: { "Content-Type": FORM },
    body: "Param1=value1",
    signed: "content-type;host;x-amz-date",
    signature: "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
  },
];

for (const { name, method, url, headers = {}, body = "", signed, signature } of VECTORS) {
  Deno.test(`signRequest() signs as AWS's test suite does: ${name}`, async () => {
    const { authorization } = await signRequest(
      { method, url: new URL(url), headers, body },
      CREDENTIALS,
      SCOPE,
    );
    assertEquals(
      authorization,
      "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, " +
        `SignedHeaders=${signed ?? "host;x-amz-date"}, Signature=${signature}`,
    );
  });
}

Deno.test("signRequest() signs the request of the IAM User Guide's example", async () => {
  const url = new URL("https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08");
  const headers = { "Content-Type": `${FORM}; charset=utf-8` };
  const { authorization } = await signRequest(
    { method: "GET", url, headers, body: "" },
    CREDENTIALS,
    { ...SCOPE, service: "iam" },
  );
  assertEquals(
    authorization!.split("Signature=")[1],
    "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
  );
});

Deno.test("signRequest() signs the session token, and sends all that it signed but the host", async () => {
  const sent = await signRequest(
    { method: "POST", url: new URL("https://example.amazonaws.com/"), headers: {}, body: "" },
    { ...CREDENTIALS, sessionToken: "token" },
    SCOPE,
  );
  assertEquals(Object.keys(sent).sort(), ["authorization", "x-amz-date", "x-amz-security-token"]);
  assertEquals(
    /SignedHeaders=([^,]*)/.exec(sent.authorization!)![1],
    "host;x-amz-date;x-amz-security-token",
  );
});

Deno.test("percentEncode() leaves the unreserved characters of RFC 3986 alone, and only those", () => {
  fc.assert(fc.property(fc.string({ unit: "grapheme" }), (text) => {
    const encoded = percentEncode(text);
    assertEquals(decodeURIComponent(encoded), text);
    assertEquals(/^([A-Za-z0-9_.~-]|%[0-9A-F]{2})*$/.test(encoded), true, encoded);
  }));
});
