/** Returns one line on the machine and on settings that influence measurements. */
export async function machine(): Promise<string> {
  const cpuinfo = await Deno.readTextFile("/proc/cpuinfo");
  const model = /model name\s*:\s*(.*)/.exec(cpuinfo)?.[1] ?? "unknown processor";
  const memory = Math.round(Deno.systemMemoryInfo().total / 2 ** 30);
  const congestion = await Deno.readTextFile("/proc/sys/net/ipv4/tcp_congestion_control");
  return `${navigator.hardwareConcurrency} x ${model}, ${memory} GiB, Linux ${Deno.osRelease()}, ` +
    `TCP by ${congestion.trim()}, ` +
    `Deno ${Deno.version.deno}, ${new Date().toISOString().slice(0, 10)}`;
}
