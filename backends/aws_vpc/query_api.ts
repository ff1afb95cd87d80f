/**
 * AWS's query protocol: a form by POST, XML for an answer; and what its failures mean.
 *
 * @module
 */
import { ProviderError, type ProviderErrorKind } from "../provider/errors.ts";
import { fetchAnswer } from "../provider/fetch_answer.ts";
import { parseXml, type XmlElement, XmlError } from "./xml.ts";
import { truncate } from "../../mod/text/mod.ts";

/** How long one answer may take, in milliseconds. */
const TIMEOUT_MS = 10_000;

/** A call's parameters by name, as they stand in the form. */
export type QueryParameters = Readonly<Record<string, string>>;

/** A form that is ready to be sent. */
export interface QueryRequest {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** For messages: `ec2:CreateRoute on route table rtb-0a1b2c`. */
  readonly what: string;
  /** Likewise whose credentials sign it: `role flannel of the instance`. */
  readonly who?: string;
  readonly signal: AbortSignal;
}

/** AWS's description of a failure. */
export interface QueryFailure {
  /** HTTP status. */
  readonly status: number;
  /** `UnauthorizedOperation` */
  readonly code: string;
  /** As AWS words it, cut where it would be unreadable. */
  readonly message: string;
}

/** A call that AWS refused. */
export class QueryError extends ProviderError {
  readonly failure: QueryFailure;

  constructor(kind: ProviderErrorKind, message: string, failure: QueryFailure) {
    super(kind, message);
    this.failure = failure;
  }
}

/**
 * Sends a form.
 *
 * @returns the root of the answer
 * @throws {QueryError} when AWS refuses
 * @throws {ProviderError} when there is no answer, or none that can be read
 */
export async function sendQuery(
  { url, headers, body, what, who, signal }: QueryRequest,
): Promise<XmlElement> {
  const { response, text } = await fetchAnswer(url, {
    ...{ method: "POST", headers, body, signal },
    ...{ timeoutMs: TIMEOUT_MS, what: `${what}: ${url.host}` },
  });
  if (!response.ok) throw failureOf(response.status, text, what, who);
  try {
    return parseXml(text);
  } catch (cause) {
    if (!(cause instanceof XmlError)) throw cause;
    throw new ProviderError(
      "unavailable",
      `${what}: the answer of ${url.host} is not XML: ${cause.message}`,
      { cause },
    );
  }
}

/** Codes of "Error codes for the Amazon EC2 API" and of the common query errors. */
const KINDS: Readonly<Record<string, ProviderErrorKind>> = {
  ...kinds(
    "throttled",
    "RequestLimitExceeded Throttling ThrottlingException ThrottledException RequestThrottled " +
      "RequestThrottledException TooManyRequestsException BandwidthLimitExceeded SlowDown " +
      "PriorRequestNotComplete EC2ThrottledException",
  ),
  ...kinds(
    "unavailable",
    "InternalError InternalFailure ServiceUnavailable Unavailable RequestTimeout " +
      "IDPCommunicationError RequestTimeoutException",
  ),
  ...kinds(
    "denied",
    "UnauthorizedOperation AccessDenied AccessDeniedException AuthFailure Blocked OptInRequired " +
      "InvalidClientTokenId SignatureDoesNotMatch UnrecognizedClientException MissingAuthenticationToken " +
      "ExpiredToken ExpiredTokenException RequestExpired InvalidIdentityToken IDPRejectedClaim " +
      "InvalidAccessKeyId",
  ),
  ...kinds("missing", "InvalidRoute.NotFound"),
  ...kinds("exists", "RouteAlreadyExists"),
  ...kinds("limit", "RouteLimitExceeded"),
};

/** Codes for credentials that were good once. */
export const EXPIRED: ReadonlySet<string> = new Set([
  ...["ExpiredToken", "ExpiredTokenException", "RequestExpired"],
]);

function kinds(kind: ProviderErrorKind, codes: string): Record<string, ProviderErrorKind> {
  return Object.fromEntries(codes.split(" ").map((code) => [code, kind]));
}

/** Reads a refusal. Exported for its test. */
export function failureOf(
  status: number,
  text: string,
  what: string,
  who = "this host",
): QueryError {
  const { code, message } = decodeFailure(text) ?? { code: `HTTP ${status}`, message: "" };
  const known = Object.hasOwn(KINDS, code) ? KINDS[code] : undefined;
  const kind = known ?? (status >= 500 || status === 429 ? "unavailable" : "unsuitable");
  const refused = kind === "denied" && !EXPIRED.has(code) ? ` is not allowed to ${who}` : "";
  return new QueryError(
    kind,
    `${what}${refused}: ${code}${message === "" ? "" : ` (${message})`}`,
    { status, code, message },
  );
}

function decodeFailure(text: string): { code: string; message: string } | undefined {
  let root: XmlElement;
  try {
    root = parseXml(text);
  } catch (error) {
    if (error instanceof XmlError) return undefined;
    throw error;
  }
  // EC2: Response/Errors/Error; STS: ErrorResponse/Error.
  const error = root.find("Errors", "Error") ?? root.find("Error");
  const code = error?.value("Code");
  if (code === undefined) return undefined;
  return { code, message: readable(error?.value("Message") ?? "") };
}

/** Without the encoded blob that `aws sts decode-authorization-message` reads, of 800 characters. */
function readable(message: string): string {
  const [before = "", ...behind] = message.split(/Encoded authorization failure message: \S+/);
  const text = behind.length === 0 ? message : [before.trimEnd(), ...behind].join("");
  return truncate(text, 300);
}
