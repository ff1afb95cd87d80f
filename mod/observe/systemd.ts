import { sendUnixDatagram } from "../sys/mod.ts";
import { verbose } from "./log/log.ts";
import { printable } from "./log/printable.ts";
import { currentScope } from "./log/scope.ts";
import { shorten } from "./log/shorten.ts";

/** Bytes of an assignment, before it is escaped: `systemctl status` shows it in one line. */
const STATUS_BYTES = 500;

/**
 * Sends the state of the service to systemd, as sd_notify(3): one datagram to the socket that
 * `NOTIFY_SOCKET` names. Without one (not a `Type=notify` unit) nothing is sent. A failure is ignored: the
 * agent works without systemd. In the scope of one network of several the assignments go to the scope.
 *
 * @param assignments for example `READY=1`, `STATUS=Lease 10.20.93.0/24`, `STOPPING=1`
 */
export function notifySystemd(...assignments: readonly string[]): void {
  const scope = currentScope();
  if (scope === undefined) notifyOfProcess(...assignments);
  else scope.notify(assignments);
}

/** As {@linkcode notifySystemd}, for the whole process, in any scope. */
export function notifyOfProcess(...assignments: readonly string[]): void {
  const socket = Deno.env.get("NOTIFY_SOCKET");
  if (socket === undefined || socket === "") return;
  const lines = assignments.map((line) => printable(shorten(line, STATUS_BYTES)));
  try {
    sendUnixDatagram(socket, new TextEncoder().encode(lines.join("\n")));
  } catch (error) {
    verbose(1, `Cannot notify systemd at ${socket}: ${(error as Error).message}`);
  }
}
