import type { LabHost } from "../../tests/lab/host.ts";
import type { LabProcess } from "../../tests/lab/process.ts";

/** Bytes that a host has sent to the lab's network, with all headers; its own namespace counts them. */
export function sentBytes(host: LabHost): number {
  const text = Deno.readTextFileSync(`/proc/${host.pid}/net/dev`);
  // After the name eight counters of what came, then those of what went.
  return Number(/eth1:\s*(.*)/.exec(text)![1]!.split(/\s+/)[8]);
}

/** Time that a process has run, in seconds; the kernel counts in hundredths (proc_pid_stat(5)). */
export function cpuSeconds({ pid }: LabProcess): number {
  // utime and stime are the 14th and 15th field; the second may hold blanks, within parentheses.
  const fields = Deno.readTextFileSync(`/proc/${pid}/stat`).split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Memory that a process has, and has had at most. */
export function residentMiB({ pid }: LabProcess): string {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  const kib = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)![1]);
  return `${(kib("VmRSS") / 1024).toFixed(0)} MiB (at most ${(kib("VmHWM") / 1024).toFixed(0)})`;
}

/** For display. */
export function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}

/** For display. */
export function mib(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(bytes < 2 ** 20 ? 3 : 1)} MiB`;
}
