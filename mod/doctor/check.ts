import type { HostFacts } from "./host_facts.ts";

export { Unavailable } from "./unavailable.ts";

/**
 * What a check comes to. `warning`: it works, but may not for long, or not as meant. `unchecked`: it
 * could not be told, and the summary says why.
 */
export type Verdict = "ok" | "warning" | "problem" | "unchecked";

/** What a check found. */
export interface Finding {
  readonly verdict: Verdict;
  /** One line. */
  readonly summary: string;
  /** What was seen, one line each. @default none */
  readonly evidence?: readonly string[];
  /** Commands, or what to change where, one line each, in order. @default none */
  readonly cure?: readonly string[];
}

/** One thing that `flanneld doctor` looks at. */
export interface Check {
  /** One word for scripts, which stays. */
  readonly id: string;
  /** What is looked at. */
  readonly title: string;
  /**
   * Checks, and makes no lasting change.
   *
   * @throws {Unavailable} when something that it needs is not there; it is then not checked
   */
  run(host: HostFacts): Promise<Finding> | Finding;
}

/** All is well. */
export function ok(summary: string, evidence: readonly string[] = []): Finding {
  return { verdict: "ok", summary, evidence };
}

/** It does not work. */
export function problem(
  summary: string,
  { evidence = [], cure = [] }: Pick<Finding, "evidence" | "cure"> = {},
): Finding {
  return { verdict: "problem", summary, evidence, cure };
}

/** It works; but. */
export function warning(
  summary: string,
  { evidence = [], cure = [] }: Pick<Finding, "evidence" | "cure"> = {},
): Finding {
  return { verdict: "warning", summary, evidence, cure };
}

/** No more lines than one can read, with how many were left out. */
export function atMost(lines: readonly string[], count = 8): string[] {
  return lines.length <= count
    ? [...lines]
    : [...lines.slice(0, count), `and ${lines.length - count} more`];
}
