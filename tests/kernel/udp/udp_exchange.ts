import { assertEquals } from "@std/assert";
import type { Namespace } from "../firewall/firewall_namespace.ts";
import { lines } from "./udp_lab.ts";

/** A host that runs commands. */
export type Place = Pick<Namespace, "run" | "spawn">;

/** Runs a program on two hosts: a receiver, which prints "listening", then a sender. */
export async function exchange(
  program: string,
  [from, fromArgs]: [Place, string[]],
  [to, toArgs]: [Place, string[]],
): Promise<[sent: string, received: string]> {
  const path = new URL(program, import.meta.url).pathname;
  const command = [Deno.execPath(), "run", "-A", "--no-check", "--no-lock", path];
  const receiver = to.spawn(...command, "receive", ...toArgs);
  const output = lines(receiver.stdout);
  assertEquals((await output.next()).value, "listening");
  const sent = (await from.run(...command, "send", ...fromArgs)).trim();
  const received = (await output.next()).value!;
  await output.return(undefined);
  await receiver.stderr.cancel();
  await receiver.status;
  return [sent, received];
}

/** Runs a command and returns its output, whatever its exit code. */
export async function outputOf(place: Place, ...command: string[]): Promise<string> {
  const { stdout, stderr } = await place.spawn(...command).output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

/** Runs busybox's ping with ten requests a second, and returns its output. */
export function ping(
  from: Place,
  to: string,
  count: number,
  ...options: string[]
): Promise<string> {
  const args = ["-c", String(count), "-i", "0.1", "-W", "1", ...options, to];
  return outputOf(from, "busybox", "ping", ...args);
}

/** Sends random bytes by TCP, and compares their digests. */
export async function transfer(from: Place, to: Place, address: string, megabytes: number) {
  const args = [address, "5001"];
  const [sent, received] = await exchange(
    "./udp_transfer.ts",
    [from, [...args, String(megabytes)]],
    [to, args],
  );
  assertEquals(received, sent);
}

/** Sends `count` datagrams of every kind (udp_mixed.ts) over flannel0, and compares their digests. */
export async function mixed(from: Place, to: Place, address: string, count: number): Promise<void> {
  // A long queue, because this does not test a slow reader.
  await from.run("ip", "link", "set", "flannel0", "txqueuelen", "20000");
  for (let attempt = 1;; attempt++) {
    const seed = Math.floor(Math.random() * 2 ** 31);
    const [sent, received] = (await exchange(
      "./udp_mixed.ts",
      [from, [address, String(count), String(seed)]],
      [to, [address, String(count)]],
    )).map((text) => JSON.parse(text) as { count: number; digest: string });
    // A busy machine may drop a datagram, but not in three attempts. A datagram that differs always fails.
    if (received!.count < sent!.count && attempt < 3) continue;
    assertEquals(received, sent, `seed ${seed}`);
    return;
  }
}

/** Sends datagrams of 64 bytes without a rate limit. */
export async function flood(
  from: Place,
  to: Place,
  address: string,
  seconds: number,
): Promise<void> {
  const server = to.spawn("iperf3", "-s", "-1");
  while ((await to.run("ss", "-Hltn", "sport = :5201")).trim() === "");
  const flags = ["-u", "-b", "0", "-l", "64", "-P", "4", "-t", String(seconds)];
  await from.run("iperf3", "-c", address, ...flags);
  await server.output();
}
