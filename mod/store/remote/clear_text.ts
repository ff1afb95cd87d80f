import type { RemoteStoreOptions } from "./options.ts";

/** Returns the servers of `-remote` to which the token travels in clear text: without TLS, over a network. */
export function clearTextServers(
  { servers, tokenFile, caFile, certFile }: Omit<RemoteStoreOptions, "kind">,
): string[] {
  if (tokenFile === undefined || caFile !== undefined || certFile !== undefined) return [];
  return servers.filter((server) => !isLoopbackName(new URL(`http://${server}`).hostname));
}

/** Returns whether a name or an address, IPv6 with or without brackets, is of loopback. */
export function isLoopbackName(hostname: string): boolean {
  return /^(localhost|127(\.\d+){3}|\[?::1\]?)$/i.test(hostname);
}

/** Returns the log line of a server or client that sends or takes tokens in clear text. */
export function clearTextWarning(subject: string): string {
  const { risk, onServer, onClient } = CLEAR_TEXT;
  return `${subject}: ${risk}; ${onServer}; ${onClient}`;
}

/** What is wrong with such a server, and what fixes it. */
export const CLEAR_TEXT = {
  risk: "without TLS everybody on the path can read the token",
  onServer: "give -remote-certfile and -remote-keyfile on the server",
  onClient: "give -remote-cafile on each client",
} as const;
