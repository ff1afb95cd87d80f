import { getUnix, HttpClientError } from "../../http/client.ts";
import { type AgentStatus, STATUS_VERSION } from "./status.ts";

/** No status came over the socket. The message is one line. */
export class StatusError extends Error {
  override readonly name = "StatusError";
}

/** Options of {@linkcode askStatus}. */
export interface AskStatusOptions {
  /** How many peers to list of each network: a number, or `all`. */
  readonly peers: string;
  readonly signal: AbortSignal;
  /** Milliseconds until the answer must be complete. @default 10_000 */
  readonly timeoutMs?: number;
}

/** The status of an agent, as JSON and as its value. */
export interface StatusAnswer {
  readonly text: string;
  readonly status: AgentStatus;
}

/**
 * Asks the agent behind a unix socket for its status.
 *
 * @throws {StatusError} when no agent answers, or one of another version
 * @throws the reason of the signal when it aborts
 */
export async function askStatus(
  socket: string,
  { peers, signal, timeoutMs = 10_000 }: AskStatusOptions,
): Promise<StatusAnswer> {
  try {
    const query = `/status?peers=${encodeURIComponent(peers)}`;
    const { status, body } = await getUnix(socket, query, { signal, timeoutMs });
    if (status !== 200) throw new StatusError(`the agent answers: ${body.trim()}`);
    const answer = JSON.parse(body) as AgentStatus;
    if (answer.statusVersion !== STATUS_VERSION) {
      throw new StatusError(
        `the agent on ${socket} is of another version than this flanneld: use its own`,
      );
    }
    return { text: body, status: answer };
  } catch (error) {
    throw statusError(error, socket) ?? error;
  }
}

function statusError(error: unknown, socket: string): StatusError | undefined {
  if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.ConnectionRefused) {
    return new StatusError(
      `no agent runs here: no process answers on ${socket} (for an agent with another -subnet-file ` +
        "or -status-socket give the same here; a server of -listen over etcd has no socket)",
    );
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return new StatusError(`only root may connect to ${socket}: run flanneld status as root`);
  }
  if (error instanceof HttpClientError) return new StatusError(error.message);
  if (error instanceof SyntaxError) {
    return new StatusError(`the process that answers on ${socket} is not flanneld`);
  }
  return undefined;
}
