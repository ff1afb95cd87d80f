import { ConfigError } from "../../config/errors.ts";
import type { EtcdOptions } from "./options.ts";

/** An endpoint as configured. */
export interface HttpEndpoint {
  /** Without credentials and without a trailing slash. */
  readonly url: string;
  /** Of the options, else of the URL. */
  readonly user: { readonly name: string; readonly password: string } | undefined;
  /** Something was received since the last failure. */
  heard: boolean;
  /** The server has answered at least once. */
  hasAnswered: boolean;
}

/** Reads one of `-etcd-endpoints`. @throws {ConfigError} for a text that is no http or https URL */
export function parseEndpoint(
  text: string,
  options: Pick<EtcdOptions, "username" | "password">,
): HttpEndpoint {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) {
    // The text may hold a password.
    throw new ConfigError(
      "-etcd-endpoints holds a text that is not http://HOST:PORT or https://...",
    );
  }
  const [name, password] = options.username
    ? [options.username, options.password ?? ""]
    : [decoded(url.username), decoded(url.password)];
  return {
    url: url.origin + url.pathname.replace(/\/+$/, ""),
    user: name === "" ? undefined : { name, password },
    heard: false,
    hasAnswered: false,
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Endpoints for display: without the credentials a URL may carry. */
export function displayEndpoints(endpoints: readonly string[]): string {
  return endpoints.map((endpoint) => parseEndpoint(endpoint, {}).url).join(",");
}
