import type { RunReport } from "./run.ts";

/** A run in lines: what was done, what was lost, what was broken and how to see it again. */
export function formatReport(report: RunReport, minutes: number): string {
  const { store, backend, seed, schedule, injected, sent, lost, uncounted, broken } = report;
  const total = [...injected.values()].reduce((sum, count) => sum + count, 0);
  const kinds = [...injected].sort(([a], [b]) => a < b ? -1 : 1).map(([name, count]) =>
    `  ${name.padEnd(30)} ${String(count).padStart(5)}`
  );
  const lines = [
    `${store} by ${backend}, seed ${seed}: ${schedule.length} rounds, ${total} faults injected`,
    ...kinds,
    `pings between unaffected hosts: ${sent} sent, ${lost} lost; from or to affected ones: ${uncounted}`,
    `longest pause between pings ${ms(report.longestPauseMs)}, slowest reply ` +
    `${
      ms(report.slowestReplyMs)
    }, slowest recovery ${report.slowestRecovery} rounds of pings, largest agent ` +
    `${Math.round(report.mostResidentMiB)} MiB`,
    `invariants broken: ${broken.length}`,
  ];
  if (broken.length === 0) return lines.join("\n");
  return [
    ...lines,
    ...broken.map((text) => `  ${text}`),
    "schedule:",
    ...schedule.map((line) => `  ${line}`),
    `logs of the agents: ${report.logs}`,
    `repeat: deno task chaos --minutes=${minutes} --store=${store} --seed=${seed}`,
  ].join("\n");
}

function ms(value: number): string {
  return `${Math.round(value)} ms`;
}
