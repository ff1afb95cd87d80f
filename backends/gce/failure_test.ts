import { assertEquals, assertMatch } from "@std/assert";
import type { ProviderErrorKind } from "../provider/errors.ts";
import { decodeFailure, failureOf } from "./failure.ts";
import { routeName } from "./route_name.ts";
import { Prefix } from "../../mod/ip/mod.ts";

const WORDS = { what: "compute.routes.insert on projects/p/global/routes/r", who: "f@p" };

Deno.test("failureOf() distinguishes Google's refusals of calls and of operations", () => {
  const cases: readonly (readonly [number, string, ProviderErrorKind])[] = [
    [403, "rateLimitExceeded", "throttled"],
    [403, "userRateLimitExceeded", "throttled"],
    [429, "", "throttled"],
    [403, "quotaExceeded", "limit"],
    [403, "QUOTA_EXCEEDED", "limit"],
    [403, "forbidden", "denied"],
    [403, "insufficientPermissions", "denied"],
    [401, "authError", "denied"],
    [404, "notFound", "missing"],
    [409, "alreadyExists", "exists"],
    [0, "RESOURCE_ALREADY_EXISTS", "exists"],
    [0, "RESOURCE_NOT_READY", "unavailable"],
    [503, "backendError", "unavailable"],
    [500, "", "unavailable"],
    [400, "invalid", "unsuitable"],
  ];
  for (const [status, reason, kind] of cases) {
    assertEquals(failureOf({ status, reason, message: "" }, WORDS).kind, kind, reason);
  }
});

Deno.test("failureOf() names call, resource, account, and the scope that is missing", () => {
  const denied = failureOf({
    ...{ status: 403, reason: "forbidden", message: "Required 'compute.routes.create' permission" },
  }, WORDS);
  assertEquals(
    denied.message,
    "compute.routes.insert on projects/p/global/routes/r is not allowed to f@p: forbidden " +
      "(Required 'compute.routes.create' permission)",
  );
  const scopes = failureOf({
    ...{ status: 403, reason: "insufficientPermissions" },
    message: "Request had insufficient authentication scopes.",
  }, WORDS);
  assertMatch(scopes.message, /needs the access scope .*auth\/compute/);
});

Deno.test("decodeFailure() reads Google's JSON, and bears what is not", () => {
  const body = JSON.stringify({
    error: {
      code: 403,
      message: "No.",
      status: "PERMISSION_DENIED",
      errors: [{ reason: "forbidden" }],
    },
  });
  assertEquals(decodeFailure(403, body), { status: 403, reason: "forbidden", message: "No." });
  for (const text of ["", "<html>", "null", "[]", '{"error": null}']) {
    assertEquals(decodeFailure(502, text), { status: 502, reason: "", message: "" });
  }
});

Deno.test("routeName() is flannel's", () => {
  assertEquals(routeName(Prefix.parse("10.20.93.0/24")!), "flannel-10-20-93-0-24");
});
