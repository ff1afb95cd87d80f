import { assertEquals } from "@std/assert";
import type { Namespace } from "./firewall_namespace.ts";
import { lines } from "./udp_lab.ts";

/** Where commands can be run. */
export type Place = Pick<Namespace, "run" | "spawn">;

/** Runs a program in two hosts: the one that listens says so first. */
export async function exchange(
  program: string,
  [from, fromArgs]: [Place, string[]],
  [to, toArgs]: [Place, string[]],
): Promise<[sent: string, received: string]> {
  const path = new URL(program, import.meta.url).pathname;
  const command = [Deno.execPath(), "run", "-A", "--no-check", "--no-lock", path];
  const receiver = to.spawn(...command, "receive", ...toArgs);
  const said = lines(receiver.stdout);
  assertEquals((await said.next()).value, "listening");
  const sent = (await from.run(...command, "send", ...fromArgs)).trim();
  const received = (await said.next()).value!;
  await said.return(undefined);
  await receiver.stderr.cancel();
  await receiver.status;
  return [sent, received];
}

/** Sends random bytes by TCP, and compares what arrives. */
export async function transfer(from: Place, to: Place, address: string, megabytes: number) {
  const args = [address, "5001"];
  const [sent, received] = await exchange(
    "./udp_transfer.ts",
    [from, [...args, String(megabytes)]],
    [to, args],
  );
  assertEquals(received, sent);
}
