/**
 * Client/server mode: addresses and credentials of a client or a server.
 *
 * @module
 */

import type { ListenOptions } from "../../agent/core/options.ts";
import type { RemoteStoreOptions } from "../../store/options.ts";
import { UsageError } from "../errors.ts";
import type { Settings } from "./settings.ts";
import { present } from "./values.ts";

/** The flag of a server that asks for no credentials. */
const OPEN = "listen-allow-unauthenticated";

/** The first descriptor that systemd passes, SD_LISTEN_FDS_START of sd_listen_fds(3). */
const FIRST_DESCRIPTOR = 3;

/**
 * Returns the servers that `-remote` names; `undefined` without the flag.
 *
 * @throws {UsageError} when `-listen` is given too. The message is flannel's; flannel's exit code 1 would make systemd
 * start the same command line again and again
 * @throws {UsageError} when a value cannot be used
 */
export function remoteOptions(settings: Settings): RemoteStoreOptions | undefined {
  const text = settings.optional("remote");
  if (text === undefined) return undefined;
  if (settings.optional("listen") !== undefined) {
    throw new UsageError("--listen and --remote are mutually exclusive");
  }
  const servers = text.split(",").map((server) => server.trim()).filter((server) => server !== "");
  for (const server of servers) {
    const at = hostPort(server);
    if (at !== undefined && at.hostname !== "") continue;
    throw settings.invalid("remote", text, "expected host:port, such as 172.28.128.100:8888");
  }
  if (servers.length === 0) {
    throw settings.invalid("remote", text, "expected host:port, such as 172.28.128.100:8888");
  }
  const { certFile, keyFile, ...rest } = files(settings);
  if (certFile !== undefined && keyFile === undefined) {
    throw settings.invalid(
      "remote-certfile",
      certFile,
      "it needs its key: give -remote-keyfile too",
    );
  }
  if (keyFile !== undefined && certFile === undefined) {
    throw settings.invalid(
      "remote-keyfile",
      keyFile,
      "it needs its certificate: give -remote-certfile too",
    );
  }
  return {
    ...{ kind: "remote", servers },
    ...rest,
    ...present("certFile", certFile),
    ...present("keyFile", keyFile),
  };
}

/**
 * Returns the address and credentials of `-listen`; `undefined` without the flag.
 *
 * @throws {UsageError} when a value cannot be used
 */
export function listenOptions(settings: Settings): ListenOptions | undefined {
  const text = settings.optional("listen");
  if (text === undefined) return undefined;
  const tls = files(settings);
  if (tls.caFile !== undefined && tls.certFile === undefined) {
    throw settings.invalid(
      "remote-cafile",
      tls.caFile,
      "a server needs a certificate of its own to demand client certificates: give -remote-certfile and " +
        "-remote-keyfile too",
    );
  }
  if ((tls.certFile === undefined) !== (tls.keyFile === undefined)) {
    const [given, other] = tls.certFile === undefined
      ? ["remote-keyfile", "remote-certfile"] as const
      : ["remote-certfile", "remote-keyfile"] as const;
    throw settings.invalid(given, settings.text(given), `give -${other} too`);
  }
  const address = listenAddress(settings, text);
  const guard = tls.tokenFile !== undefined
    ? "remote-token-file"
    : tls.caFile !== undefined
    ? "remote-cafile"
    : undefined;
  const isOpen = settings.bool(OPEN);
  // A subcommand has the running agent's address, and credentials of the file for its next start.
  if (settings.given("listen")?.origin.kind === "agent") return { address, ...tls };
  if (guard === undefined && !isOpen) {
    throw settings.invalid(
      "listen",
      text,
      `without credentials any client could read the store and take subnets: give -remote-token-file, or ` +
        `-remote-cafile for client certificates, or -${OPEN} to serve every client`,
    );
  }
  if (guard !== undefined && isOpen) {
    throw settings.invalid(
      OPEN,
      "true",
      `-${guard} is given, which refuses such clients: give one of both`,
    );
  }
  return { address, ...tls };
}

function listenAddress(settings: Settings, text: string): ListenOptions["address"] {
  const activated = /^fd:\/\/(\d{0,4})$/.exec(text);
  if (activated !== null) {
    const descriptor = activated[1] === "" ? FIRST_DESCRIPTOR : Number(activated[1]);
    if (descriptor >= FIRST_DESCRIPTOR) return { descriptor };
  }
  const at = hostPort(text.replace(/^tcp:\/\//, ""));
  if (at !== undefined) return { ...at, hostname: at.hostname === "" ? "0.0.0.0" : at.hostname };
  throw settings.invalid(
    "listen",
    text,
    "expected host:port, such as 0.0.0.0:8888, or fd:// for a socket of systemd's",
  );
}

/** `host:port`, IPv6 addresses in brackets, the host perhaps empty. */
function hostPort(text: string): { hostname: string; port: number } | undefined {
  const match = /^([\w.-]*|\[[0-9a-f:.]+\]):(\d{1,5})$/i.exec(text);
  if (match === null) return undefined;
  const port = Number(match[2]);
  if (port < 1 || port > 65535) return undefined;
  return { hostname: match[1]!.replace(/^\[|\]$/g, ""), port };
}

function files(settings: Settings) {
  return {
    ...present("caFile", settings.optional("remote-cafile")),
    ...present("certFile", settings.optional("remote-certfile")),
    ...present("keyFile", settings.optional("remote-keyfile")),
    ...present("tokenFile", settings.optional("remote-token-file")),
  };
}
