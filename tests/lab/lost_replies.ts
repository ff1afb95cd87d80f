import type { LabHost } from "./host.ts";

/**
 * Pings while `action` runs and for a second after.
 *
 * @param options `interval` in seconds. @default 0.02
 * @returns how many requests went without a reply
 */
export async function lostReplies(
  from: LabHost,
  address: string,
  action: () => Promise<void>,
  { interval = 0.02 } = {},
): Promise<number> {
  // busybox' ping sends one request per interval whatever comes back, and counts on SIGINT.
  const ping = await from.spawn(["busybox", "ping", "-i", String(interval), "-W", "1", address]);
  await ping.waitFor(/seq=5/);
  await action();
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  ping.signal("SIGINT");
  await ping.status;
  const sent = Number(/(\d+) packets transmitted/.exec(ping.output)?.[1] ?? 0);
  if (sent <= 20) throw new Error(`the ping did not run: ${ping.output}`);
  const answered = new Set(
    Array.from(ping.output.matchAll(/seq=(\d+)/g), ([, seq]) => Number(seq)),
  );
  // The last request may have been on its way.
  return Array.from({ length: sent - 1 }, (_, seq) => seq).filter((seq) => !answered.has(seq))
    .length;
}
