import type { ServiceError } from "@grpc/grpc-js";
import { StoreError, StoreUnavailableError } from "../../errors.ts";
import { describeFetchError } from "../../fetch_error.ts";

/**
 * gRPC's status codes (statuscodes.md of its documentation), as far as they matter here. Not
 * imported from gRPC: the search for the config, which shall not load it, meets them too.
 */
const Status = {
  invalidArgument: 3,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  outOfRange: 11,
  unimplemented: 12,
  dataLoss: 15,
  unauthenticated: 16,
} as const;

/** Whom a failed call was made to, and as whom. */
export interface CallContext {
  /** Of the endpoint. */
  readonly url: string;
  readonly username?: string | undefined;
  readonly caFile?: string | undefined;
  /** It has answered before. @default false */
  readonly hasAnswered?: boolean;
}

/**
 * Converts gRPC's errors to the store's own: unavailable when another endpoint, or the same one
 * later, may do better.
 *
 * The texts are etcd's, from its rpctypes package.
 *
 * @param error a `ServiceError`, or whatever else a call can throw
 */
export function toStoreError(error: unknown, context: CallContext): StoreError {
  if (error instanceof StoreError) return error;
  const { url, username } = context;
  const details = describe(error, context);
  const refused = (what: string) => new StoreError(`etcd at ${url} ${what}`, { cause: error });
  const unavailable = () => new StoreUnavailableError(`${url}: ${details}`, { cause: error });
  switch (/^etcdserver: (.*)/.exec(details)?.[1]) {
    case "authentication failed, invalid user ID or password":
      return refused(
        `refuses user "${username}": wrong user name or password; set -etcd-username and -etcd-password`,
      );
    case "user name is empty":
      return refused("asks for a user: set -etcd-username and -etcd-password");
    case "permission denied":
      return refused(
        username === undefined
          ? "denies access without a user: set -etcd-username and -etcd-password"
          : `denies user "${username}" access to the prefix: grant its role readwrite on it`,
      );
    case "too many requests":
      return unavailable();
  }
  switch ((error as Partial<ServiceError>).code) {
    case Status.unimplemented:
      return refused(`does not speak etcd's v3 API (${details})`);
    case Status.invalidArgument:
    case Status.notFound:
    case Status.alreadyExists:
    case Status.permissionDenied:
    case Status.resourceExhausted:
    case Status.failedPrecondition:
    case Status.outOfRange:
    case Status.unauthenticated:
    case Status.dataLoss:
      return refused(`refuses: ${details}`);
    default:
      return unavailable();
  }
}

/** True when a call failed for want of a token that is still good; a new one then serves. */
export function isStaleToken(error: unknown): boolean {
  return [
    "etcdserver: invalid auth token",
    "etcdserver: revision of auth store is old",
    // Authentication was enabled after etcd had reported that it is disabled.
    "etcdserver: user name is empty",
  ].includes((error as Partial<ServiceError>).details ?? "");
}

/** True when etcd itself returned the error, over a connection that works. */
export function isOfEtcd(error: unknown): boolean {
  return (error as Partial<ServiceError>).details?.startsWith("etcdserver: ") ?? false;
}

/** True when etcd has forgotten the revision that was asked for. */
export function isCompacted(error: unknown): boolean {
  return error instanceof StoreError &&
    (error.cause as Partial<ServiceError> | undefined)?.code === Status.outOfRange;
}

/** True when the server has no users at all, so that none need be named. */
export function isAuthDisabled(error: unknown): boolean {
  return (error as Partial<ServiceError> | undefined)?.details ===
    "etcdserver: authentication is not enabled";
}

/** Explains a reset by a server that does not speak HTTP/2. */
function withoutReset(text: string): string {
  if (!text.startsWith("Received RST_STREAM ")) return text;
  const words = text.search(/Protocol error|frame with invalid size/);
  const at = words < 0 ? -1 : text.lastIndexOf(": ", words);
  return at < 0 ? text : `the server does not speak HTTP/2 (${text.slice(at + 2)})`;
}

/** gRPC's details, without its wrapping and time stamps. */
function describe(error: unknown, context: CallContext): string {
  const { details, message } = error as Partial<ServiceError>;
  const text = withoutReset(details || message || String(error))
    .replace(/^No connection established\. Last error: /, "")
    .replace(/ \(\d{4}-\d\d-\d\dT[\d:.]+Z\)$/, "")
    .replace(/^Deadline exceeded after ([\d.]+)s.*/, "no answer within $1 s")
    // A refused watch gives its reason as the text of a whole status.
    .replace(/^rpc error: code = \w+ desc = /, "");
  return describeFetchError(new Error(text), context);
}
