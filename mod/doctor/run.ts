import type { AgentOptions } from "../agent/core/options.ts";
import type { Check, Finding, Verdict } from "./check.ts";
import { CHECKS } from "./checks.ts";
import { reasonNotChecked } from "./errors.ts";
import { HostFacts } from "./host_facts.ts";

/** Result of one check of {@linkcode runDoctor}. */
export interface CheckReport extends Required<Finding> {
  readonly id: string;
  readonly title: string;
}

/** Options of {@linkcode runDoctor}. */
export interface DoctorOptions {
  readonly signal: AbortSignal;
  /** Called with each check when it has ended. @default none */
  readonly onReport?: (report: CheckReport) => void;
  /** @default CHECKS */
  readonly checks?: readonly Check[];
}

/**
 * Examines this host and its network, one check after the other. Makes no lasting change. The agent may be
 * running.
 *
 * @throws {SysError} when the kernel's tables cannot be read at all
 * @throws the signal's reason when it aborts
 */
export async function runDoctor(
  agent: AgentOptions,
  { signal, onReport, checks = CHECKS }: DoctorOptions,
): Promise<readonly CheckReport[]> {
  await using host = new HostFacts(agent, signal);
  const reports: CheckReport[] = [];
  for (const check of checks) {
    signal.throwIfAborted();
    const finding = await examine(check, host);
    const { id, title } = check;
    const report = { id, title, evidence: [], fix: [], ...finding };
    reports.push(report);
    onReport?.(report);
  }
  return reports;
}

async function examine(check: Check, host: HostFacts): Promise<Finding> {
  try {
    return await check.run(host);
  } catch (error) {
    host.signal.throwIfAborted();
    return { verdict: "unchecked", summary: `not checked: ${reasonNotChecked(error)}` };
  }
}

/** Counts the reports of each verdict. */
export function countVerdicts(reports: readonly CheckReport[]): Record<Verdict, number> {
  const counts = { ok: 0, warning: 0, problem: 0, unchecked: 0 };
  for (const { verdict } of reports) counts[verdict]++;
  return counts;
}
