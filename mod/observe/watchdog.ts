import { info, warning } from "./log/log.ts";
import { notifySystemd } from "./systemd.ts";

/** Options of {@linkcode feedWatchdog}. */
export interface WatchdogOptions {
  /** True while the agent does its work; called before each WATCHDOG=1. */
  readonly isWell: () => boolean;
  /** Ends the feeding. */
  readonly signal: AbortSignal;
  /** Where systemd's wish is read. @default the process's environment */
  readonly environment?: (name: string) => string | undefined;
  /** @default this process's id */
  readonly pid?: number;
  /** @default {@linkcode notifySystemd} */
  readonly notify?: (assignment: string) => void;
}

/**
 * How often systemd wants to hear from us: sd_watchdog_enabled(3).
 *
 * @returns milliseconds after which it takes us for dead; `undefined` when it does not watch us
 */
export function watchdogTimeout(
  environment: (name: string) => string | undefined,
  pid: number,
): number | undefined {
  const timeout = environment("WATCHDOG_USEC") ?? "";
  if (!/^[1-9]\d{0,15}$/.test(timeout)) return undefined;
  // Left over in the environment of a program that the watched one has started.
  const watched = environment("WATCHDOG_PID");
  if (watched !== undefined && watched !== String(pid)) return undefined;
  return Number(timeout) / 1_000;
}

/**
 * Sends WATCHDOG=1 to systemd twice in each of its periods while the agent is well. A process that hangs
 * sends nothing, and neither does one that runs and is stuck: systemd ends both and starts the agent again
 * (`WatchdogSec=`, `Restart=on-failure`). Does nothing without a watchdog.
 *
 * @returns the period in milliseconds; `undefined` without a watchdog
 */
export function feedWatchdog(options: WatchdogOptions): number | undefined {
  const { isWell, signal, environment = (name) => Deno.env.get(name), pid = Deno.pid } = options;
  const { notify = notifySystemd } = options;
  const timeout = watchdogTimeout(environment, pid);
  if (timeout === undefined || signal.aborted) return undefined;
  let fed = true;
  const feed = () => {
    const well = isWell();
    if (well) notify("WATCHDOG=1");
    if (well !== fed) {
      if (well) info("healthy again: sending WATCHDOG=1 to systemd");
      else {
        warning(
          `unhealthy: not sending WATCHDOG=1; systemd ends the agent in ${
            (timeout / 1_000).toFixed(0)
          } s unless that changes`,
        );
      }
    }
    fed = well;
  };
  feed();
  // sd_watchdog_enabled(3): "every half of the time".
  const id = setInterval(feed, timeout / 2);
  // The timer must not keep the process alive.
  Deno.unrefTimer(id);
  signal.addEventListener("abort", () => clearInterval(id), { once: true });
  return timeout;
}
