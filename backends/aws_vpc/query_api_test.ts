import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { ProviderError, type ProviderErrorKind } from "../provider/errors.ts";
import { failureOf, sendQuery } from "./query_api.ts";

const ec2 = (code: string, message = "Words.") =>
  `<?xml version="1.0" encoding="UTF-8"?>
<Response><Errors><Error><Code>${code}</Code><Message>${message}</Message></Error></Errors></Response>`;

Deno.test("failureOf() distinguishes transient failures from those that an operator must fix", () => {
  const cases: readonly (readonly [number, string, ProviderErrorKind])[] = [
    [503, ec2("RequestLimitExceeded"), "throttled"],
    [400, ec2("Throttling"), "throttled"],
    [500, ec2("InternalError"), "unavailable"],
    [503, ec2("SomethingNew"), "unavailable"],
    [502, "<html><body>Bad Gateway", "unavailable"],
    [429, "", "unavailable"],
    [403, ec2("UnauthorizedOperation"), "denied"],
    [401, ec2("AuthFailure"), "denied"],
    [400, ec2("RouteLimitExceeded"), "limit"],
    [400, ec2("RouteAlreadyExists"), "exists"],
    [400, ec2("InvalidRoute.NotFound"), "missing"],
    [400, ec2("InvalidParameterValue"), "unsuitable"],
    [400, ec2("constructor"), "unsuitable"],
  ];
  for (const [status, body, kind] of cases) {
    assertEquals(failureOf(status, body, "ec2:CreateRoute on rtb-1").kind, kind, body);
  }
});

Deno.test("failureOf() names call, resource and whose credentials, and cuts the encoded blob", () => {
  const blob = "Aa0-_".repeat(160);
  const message = `You are not authorized. Encoded authorization failure message: ${blob}`;
  const error = failureOf(
    403,
    ec2("UnauthorizedOperation", message),
    "ec2:CreateRoute on route table rtb-1",
    "role flannel of the instance",
  );
  assertEquals(
    error.message,
    "ec2:CreateRoute on route table rtb-1 is not allowed to role flannel of the instance: " +
      "UnauthorizedOperation (You are not authorized.)",
  );
});

Deno.test("failureOf() reads STS's form of an error", () => {
  const body = '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>' +
    "<Type>Sender</Type><Code>InvalidIdentityToken</Code><Message>No.</Message></Error></ErrorResponse>";
  const { kind, failure } = failureOf(400, body, "sts:AssumeRoleWithWebIdentity");
  assertEquals([kind, failure.code, failure.message], ["denied", "InvalidIdentityToken", "No."]);
});

Deno.test("sendQuery() takes an answer that is no XML, a redirect, and none for a failure that passes", async () => {
  let stolen = 0;
  await using thief = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => {
    stolen++;
    return new Response("<a/>");
  });
  const target = `http://127.0.0.1:${thief.addr.port}/`;
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    (request) =>
      request.url.endsWith("/redirect")
        ? Response.redirect(target, 307)
        : new Response("<html>&nbsp;"),
  );
  const base = `http://127.0.0.1:${server.addr.port}`;
  using closed = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = closed.addr;
  closed.close();
  for (
    const [url, words] of [
      [`${base}/`, /is not XML/],
      [`${base}/redirect`, /ec2:X: 127\.0\.0\.1/],
      [`http://127.0.0.1:${port}/`, /refused/i],
    ] as const
  ) {
    const error = await assertRejects(
      () =>
        sendQuery({
          ...{ url: new URL(url), headers: {}, body: "", what: "ec2:X" },
          signal: new AbortController().signal,
        }),
      ProviderError,
    );
    assertEquals(error.kind, "unavailable");
    assertMatch(error.message, words);
    assert(!error.message.includes("secret"));
  }
  assertEquals(stolen, 0);
});
