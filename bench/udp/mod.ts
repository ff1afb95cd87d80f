/**
 * Compares the udp data paths with the bare wire, the kernel's vxlan, a C proxy that carries one packet at a time (fastd
 * without encryption, in place of flannel's), and themselves without offloads. Two hosts in namespaces share the
 * machine's processors.
 *
 * @module
 */
import { layOut, type Measured, MEASUREMENTS, type Track } from "./measure.ts";
import { PATHS } from "./paths.ts";

const ROWS: [keyof Measured, string, number][] = [
  ["tcp1", "TCP, 1 stream, Gbit/s", 2],
  ["tcp8", "TCP, 8 streams, Gbit/s", 2],
  ["containers", "TCP, container to container", 2],
  ["wire", "TCP, wire without offload", 2],
  ["udp64", "UDP 64 B received, kpps", 0],
  ["udp1400", "UDP 1400 B received, kpps", 0],
  ["ping", "ping, us", 0],
  ["cpu", "process CPU s per GB", 2],
  ["rss", "RSS under load, MB", 0],
];

/** Measurements of each value; the median is printed. */
const ROUNDS = 3;

/**
 * Prints each value and, in parentheses, its ratio to the first path's. Each path has a lab of its own. The paths are
 * measured in turn, so that other load affects all of them.
 */
export async function run(): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const names = Object.keys(PATHS);
  const tracks: Track[] = [];
  for (const name of names) tracks.push(await layOut(PATHS[name]!, stack));
  const rounds: Partial<Measured>[][] = names.map(() => []);
  for (const measurement of MEASUREMENTS) {
    for (let round = 0; round < ROUNDS; round++) {
      for (const [i, track] of tracks.entries()) rounds[i]!.push(await measurement(track));
    }
  }
  const measured = rounds.map(medians);
  const width = 18;
  console.log(["".padEnd(28), ...names.map((name) => name.padStart(width))].join(" "));
  for (const [key, label, digits] of ROWS) {
    const cells = measured.map((one) => {
      const value = one[key];
      const base = measured[0]![key];
      const ratio = base > 0 ? ` (${(value / base).toFixed(2)})` : "";
      return (value > 0 ? value.toFixed(digits) + ratio : "-").padStart(width);
    });
    console.log([label.padEnd(28), ...cells].join(" "));
  }
  const [fastd, user, plain] = ["fastd null", "user space", "user, no offload"].map((name) =>
    measured[names.indexOf(name)]!
  );
  const times = (a: number, b: number) => (a / b).toFixed(1);
  console.log(
    `against fastd: TCP x${times(user!.tcp1, fastd!.tcp1)}, UDP 64 B x` +
      `${times(user!.udp64, fastd!.udp64)}, ping x${times(user!.ping, fastd!.ping)}; ` +
      `without offload TCP x${times(plain!.tcp1, fastd!.tcp1)}`,
  );
}

/** The median of each measurement. */
function medians(rounds: readonly Partial<Measured>[]): Measured {
  const median = (key: keyof Measured) => {
    const values = rounds.map((round) => round[key]).filter((value) => value !== undefined);
    return values.sort((a, b) => a - b)[values.length >> 1]!;
  };
  return Object.fromEntries(ROWS.map(([key]) => [key, median(key)])) as unknown as Measured;
}
