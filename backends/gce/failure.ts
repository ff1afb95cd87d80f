import { ProviderError, type ProviderErrorKind } from "../provider/errors.ts";
import { truncate } from "../../mod/text/mod.ts";

/** Reasons of Google's JSON errors and codes of operations' errors that the HTTP status does not show. */
const KINDS: readonly (readonly [RegExp, ProviderErrorKind])[] = [
  [/rateLimitExceeded|RATE_LIMIT_EXCEEDED|CONCURRENT_OPERATIONS_QUOTA_EXCEEDED/i, "throttled"],
  [/quotaExceeded|QUOTA_EXCEEDED|limitExceeded|LIMIT_EXCEEDED/i, "limit"],
  [/ALREADY_EXISTS|alreadyExists/, "exists"],
  [/NOT_READY|resourceNotReady|INTERNAL_ERROR|backendError|UNAVAILABLE/, "unavailable"],
  [/RESOURCE_NOT_FOUND|notFound/, "missing"],
  [/PERMISSION|FORBIDDEN|forbidden|insufficientPermissions/, "denied"],
];

/** Google's description of a failure of a call or of an operation. */
export interface GoogleFailure {
  /** HTTP status; 0 when unknown. */
  readonly status: number;
  /** `forbidden`, `QUOTA_EXCEEDED` */
  readonly reason: string;
  readonly message: string;
}

/** For messages: which call, on what, as whom. */
export interface CallWords {
  /** `compute.routes.insert on projects/p/global/routes/flannel-10-20-1-0-24` */
  readonly what: string;
  readonly who: string;
}

/** Makes the error of a failure. */
export function failureOf(
  { status, reason, message }: GoogleFailure,
  { what, who }: CallWords,
): ProviderError {
  const kind = KINDS.find(([pattern]) => pattern.test(reason))?.[1] ?? kindOfStatus(status);
  const refused = kind === "denied"
    ? ` is not allowed to ${who}`
    : kind === "limit"
    ? " exceeds a quota of the project"
    : "";
  const hint = /insufficient authentication scopes/i.test(message)
    ? "; the instance needs the access scope https://www.googleapis.com/auth/compute, or cloud-platform"
    : "";
  const text = truncate(message, 300);
  return new ProviderError(
    kind,
    `${what}${refused}: ${reason || `HTTP ${status}`}${text === "" ? "" : ` (${text})`}${hint}`,
  );
}

function kindOfStatus(status: number): ProviderErrorKind {
  switch (status) {
    case 401:
    case 403:
      return "denied";
    case 404:
      return "missing";
    case 409:
      return "exists";
    case 408:
    case 429:
      return "throttled";
    default:
      return status >= 500 || status === 0 ? "unavailable" : "unsuitable";
  }
}

/** Reads the body of a call that failed. */
export function decodeFailure(status: number, body: string): GoogleFailure {
  try {
    const { error } = JSON.parse(body) as {
      error?: { message?: unknown; status?: unknown; errors?: { reason?: unknown }[] };
    };
    return {
      status,
      reason: String(error?.errors?.[0]?.reason ?? error?.status ?? ""),
      message: String(error?.message ?? ""),
    };
  } catch {
    return { status, reason: "", message: "" };
  }
}
