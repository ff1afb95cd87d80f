/**
 * Pages that the agent's endpoints serve, over TCP and over the unix socket.
 *
 * @module
 */
import { warning } from "../log/log.ts";

/** Answers one path. */
export type Page = (url: URL) => Response | Promise<Response>;

/** Pages by path. */
export type Pages = Readonly<Record<string, Page>>;

/** Options of {@linkcode answer}. */
export interface AnswerOptions {
  /**
   * Names of this host in lower case; requests for any other name are refused, except for {@linkcode OPEN_PATHS}. A
   * page of another site whose name resolves to this host must not read pages through an operator's browser (DNS
   * rebinding). When absent, every name is accepted.
   */
  readonly hostNames?: ReadonlySet<string> | undefined;
}

/** Paths that load balancers ask for under any name; they reveal only whether the agent is well. */
const OPEN_PATHS: ReadonlySet<string> = new Set(["/healthz", "/readyz"]);

/** Headers of every answer: it must not be cached, and its type must not be guessed. */
const HEADERS = { "cache-control": "no-store", "x-content-type-options": "nosniff" };

/** A text as an answer; a line feed is added. */
export function textResponse(text: string, init: ResponseInit = {}): Response {
  return new Response(`${text}\n`, init);
}

/** A value as JSON of one line. */
export function jsonResponse(value: unknown): Response {
  return textResponse(JSON.stringify(value), { headers: { "content-type": "application/json" } });
}

/**
 * Answers a request with one of the pages. It never rejects: a page that fails is logged, and answered with
 * 500.
 */
export async function answer(
  pages: Pages,
  request: Pick<Request, "method" | "url">,
  { hostNames }: AnswerOptions = {},
): Promise<Response> {
  const url = URL.parse(request.url);
  let response: Response;
  if (url === null) {
    // As the Host field has it, and the runtime passes it on.
    response = textResponse("the request names no host", { status: 400 });
  } else if (
    hostNames !== undefined && !OPEN_PATHS.has(url.pathname) && !isOwnName(url.hostname, hostNames)
  ) {
    response = textResponse(
      `${
        url.hostname.slice(0, 255)
      } is not a name of this host: use an IP address, localhost, the ` +
        "host name, or a name that /etc/hosts has for an address of this host",
      { status: 421 },
    );
  } else if (request.method !== "GET" && request.method !== "HEAD") {
    response = textResponse("only GET and HEAD", { status: 405, headers: { allow: "GET, HEAD" } });
  } else if (!Object.hasOwn(pages, url.pathname)) {
    const paths = Object.keys(pages).join(", ");
    response = textResponse(`not found: there are ${paths}`, { status: 404 });
  } else {
    try {
      response = await pages[url.pathname]!(url);
    } catch (error) {
      const reason = (error as Error).message;
      warning(`Cannot answer ${url.pathname}: ${reason}`, { error: reason });
      response = textResponse("this failed; see the log", { status: 500 });
    }
  }
  for (const [name, value] of Object.entries(HEADERS)) {
    if (!response.headers.has(name)) response.headers.set(name, value);
  }
  return request.method === "HEAD" ? new Response(null, response) : response;
}

/** Returns true for an address, which DNS cannot point elsewhere, and for a name of this host. */
function isOwnName(hostname: string, hostNames: ReadonlySet<string>): boolean {
  // URL writes every form of an IPv4 address with dots, and IPv6 in brackets.
  return /^(\d+(\.\d+){3}|\[.*\])$/.test(hostname) || hostNames.has(hostname.replace(/\.$/, ""));
}
