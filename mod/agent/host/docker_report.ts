import { info } from "../../observe/mod.ts";
import { getUnix } from "../../http/client.ts";

/** Default socket of dockerd. */
const SOCKET = "/run/docker.sock";

/** In milliseconds: Docker asks its storage driver for `/info`. */
const TIMEOUT_MS = 5_000;

/** Docker's version and firewall backend, as its API reports them. */
export interface DockerVersion {
  /** `28.5.2` */
  readonly version: string;
  /** `iptables`, `iptables+firewalld` or `nftables`; absent before Docker 28. */
  readonly firewallBackend?: string;
}

/**
 * Reads the version and the firewall backend from the host's Docker.
 *
 * @param socket path of its unix socket
 * @returns `undefined` when no Docker answers
 */
export async function askDocker(
  signal: AbortSignal,
  socket = SOCKET,
): Promise<DockerVersion | undefined> {
  try {
    const options = { timeoutMs: TIMEOUT_MS, signal };
    const [version, host] = await Promise.all(
      ["/version", "/info"].map(async (target) =>
        JSON.parse((await getUnix(socket, target, options)).body)
      ),
    );
    if (typeof version?.Version !== "string") return undefined;
    const driver = host?.FirewallBackend?.Driver;
    return {
      version: version.Version,
      ...(typeof driver === "string" ? { firewallBackend: driver } : {}),
    };
  } catch {
    // Docker is absent, stopped or starting, or another program listens there. Nothing depends on the answer.
    return undefined;
  }
}

/** Lines that were logged: each network of the process calls this. */
const logged = new Set<string>();

/** Logs the host's Docker once, if it answers. Never throws. */
export async function reportDocker(signal: AbortSignal, socket = SOCKET): Promise<void> {
  const docker = await askDocker(signal, socket);
  if (docker === undefined) return;
  const { version, firewallBackend = "not reported" } = docker;
  const line = `docker ${version} found, firewall backend ${firewallBackend}`;
  if (logged.has(line)) return;
  logged.add(line);
  info(line);
}
