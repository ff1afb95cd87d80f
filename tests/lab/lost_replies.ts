import type { LabHost } from "./host.ts";

/**
 * Pings every 20 ms while `action` runs and for a second after.
 *
 * @returns how many requests went without a reply
 */
export async function lostReplies(
  from: LabHost,
  address: string,
  action: () => Promise<void>,
): Promise<number> {
  // busybox' ping sends one request per interval whatever comes back, and counts on SIGINT.
  const ping = await from.spawn(["busybox", "ping", "-i", "0.02", "-W", "1", address]);
  await ping.waitFor(/seq=5/);
  await action();
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  ping.signal("SIGINT");
  await ping.status;
  const counts = /(\d+) packets transmitted, (\d+) packets received/.exec(ping.output);
  if (counts === null || Number(counts[1]) <= 20) {
    throw new Error(`the ping did not run: ${ping.output}`);
  }
  return Number(counts[1]) - Number(counts[2]);
}
