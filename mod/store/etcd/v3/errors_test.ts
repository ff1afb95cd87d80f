import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import { status } from "@grpc/grpc-js";
import { ConflictError, StoreError, StoreUnavailableError } from "../../errors.ts";
import { isAuthDisabled, isCompacted, isOfEtcd, isStaleToken, toStoreError } from "./errors.ts";

const context = { url: "http://192.0.2.1:2379", username: "agent" };

/** As gRPC reports it; texts and codes as etcd 3.5 gives them. */
function failure(code: status, details: string): Error {
  return Object.assign(new Error(`${code} ${status[code]}: ${details}`), { code, details });
}

Deno.test("toStoreError() calls unavailable what another endpoint or time may fix", () => {
  const table: readonly (readonly [Error, string])[] = [
    [failure(status.UNAVAILABLE, "etcdserver: no leader"), "etcdserver: no leader"],
    [
      failure(status.UNAVAILABLE, "etcdserver: request timed out"),
      "etcdserver: request timed out",
    ],
    [
      failure(status.RESOURCE_EXHAUSTED, "etcdserver: too many requests"),
      "etcdserver: too many requests",
    ],
    [
      failure(status.DEADLINE_EXCEEDED, "Deadline exceeded after 10.001s,remote_addr=/tmp/x/h2"),
      "no answer within 10.001 s",
    ],
    [
      failure(
        status.UNAVAILABLE,
        "No connection established. Last error: connect ENOENT (2026-01-02T03:04:05.678Z)",
      ),
      "connect ENOENT",
    ],
    [
      failure(
        status.INTERNAL,
        "Received RST_STREAM with code 2 triggered by internal client error: Protocol error",
      ),
      "the server does not speak HTTP/2 (Protocol error)",
    ],
    [new Deno.errors.ConnectionRefused("Connection refused"), "Connection refused"],
    [
      new Error("rpc error: code = Unavailable desc = etcdserver: no leader"),
      "etcdserver: no leader",
    ],
  ];
  for (const [error, text] of table) {
    const mapped = toStoreError(error, context);
    assertInstanceOf(mapped, StoreUnavailableError);
    assertEquals(mapped.message, `http://192.0.2.1:2379: ${text}`);
    assertStrictEquals(mapped.cause, error);
  }
});

Deno.test("toStoreError() calls refused what the operator must fix, and names the fix", () => {
  const table: readonly (readonly [Error, string])[] = [
    [
      failure(
        status.INVALID_ARGUMENT,
        "etcdserver: authentication failed, invalid user ID or password",
      ),
      'refuses user "agent": wrong user name or password; set -etcd-username and -etcd-password',
    ],
    [
      failure(status.INVALID_ARGUMENT, "etcdserver: user name is empty"),
      "asks for a user: set -etcd-username and -etcd-password",
    ],
    [
      failure(status.PERMISSION_DENIED, "etcdserver: permission denied"),
      'denies user "agent" access to the prefix: grant its role readwrite on it',
    ],
    [
      failure(status.UNIMPLEMENTED, "unknown service etcdserverpb.KV"),
      "does not speak etcd's v3 API (unknown service etcdserverpb.KV)",
    ],
    [
      failure(status.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"),
      "refuses: etcdserver: mvcc: database space exceeded",
    ],
  ];
  for (const [error, text] of table) {
    const mapped = toStoreError(error, context);
    assertInstanceOf(mapped, StoreError);
    assert(!(mapped instanceof StoreUnavailableError));
    assertEquals(mapped.message, `etcd at http://192.0.2.1:2379 ${text}`);
  }
  assertEquals(
    toStoreError(failure(status.PERMISSION_DENIED, "etcdserver: permission denied"), {
      url: "http://192.0.2.1:2379",
    }).message,
    "etcd at http://192.0.2.1:2379 denies access without a user: " +
      "set -etcd-username and -etcd-password",
  );
});

Deno.test("toStoreError() passes the store's own errors on", () => {
  const error = new ConflictError("taken");
  assertStrictEquals(toStoreError(error, context), error);
});

Deno.test("isStaleToken(), isOfEtcd(), isAuthDisabled() and isCompacted() know etcd's words", () => {
  assert(isStaleToken(failure(status.UNAUTHENTICATED, "etcdserver: invalid auth token")));
  assert(
    isStaleToken(failure(status.INVALID_ARGUMENT, "etcdserver: revision of auth store is old")),
  );
  assert(!isStaleToken(failure(status.PERMISSION_DENIED, "etcdserver: permission denied")));
  assert(!isStaleToken(new Error("other")));
  assert(isOfEtcd(failure(status.UNAVAILABLE, "etcdserver: no leader")));
  assert(!isOfEtcd(failure(status.UNAVAILABLE, "Connection dropped")));
  assert(!isOfEtcd(new Error("etcdserver: said by another")));
  assert(
    isAuthDisabled(
      failure(status.FAILED_PRECONDITION, "etcdserver: authentication is not enabled"),
    ),
  );
  const compacted = failure(
    status.OUT_OF_RANGE,
    "etcdserver: mvcc: required revision has been compacted",
  );
  assert(isCompacted(toStoreError(compacted, context)));
  assert(!isCompacted(compacted));
});
