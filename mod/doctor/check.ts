import type { HostFacts } from "./host_facts.ts";

export { Unavailable } from "./unavailable.ts";

/**
 * Result of a check. `warning`: it works, but may not for long, or not as intended. `unchecked`: the summary
 * has the reason.
 */
export type Verdict = "ok" | "warning" | "problem" | "unchecked";

/** Findings of a check. */
export interface Finding {
  readonly verdict: Verdict;
  /** One line. */
  readonly summary: string;
  /** Observations, one line each. @default none */
  readonly evidence?: readonly string[];
  /** Commands, or changes and their place, one line each, in order. @default none */
  readonly fix?: readonly string[];
}

/** One check of `flanneld doctor`. */
export interface Check {
  /** One word for scripts; does not change between versions. */
  readonly id: string;
  /** Subject of the check. */
  readonly title: string;
  /**
   * Runs the check. Makes no lasting change.
   *
   * @throws {Unavailable} when something that it needs is missing: the verdict is then `unchecked`
   */
  run(host: HostFacts): Promise<Finding> | Finding;
}

/** Returns a finding without a fault. */
export function ok(summary: string, evidence: readonly string[] = []): Finding {
  return { verdict: "ok", summary, evidence };
}

/** Returns a fault. */
export function problem(
  summary: string,
  { evidence = [], fix = [] }: Pick<Finding, "evidence" | "fix"> = {},
): Finding {
  return { verdict: "problem", summary, evidence, fix };
}

/** Returns a risk. */
export function warning(
  summary: string,
  { evidence = [], fix = [] }: Pick<Finding, "evidence" | "fix"> = {},
): Finding {
  return { verdict: "warning", summary, evidence, fix };
}

/** Returns the first lines, and the number of the others. */
export function atMost(lines: readonly string[], count = 8): string[] {
  return lines.length <= count
    ? [...lines]
    : [...lines.slice(0, count), `and ${lines.length - count} more`];
}
