import { FirewallError } from "./errors.ts";

/** The steps of {@linkcode applyUntilInPlace}. */
export interface ApplySteps<Plan extends { readonly text: string }> {
  /** Reads the rules and plans; returns `undefined` when all are in place. */
  plan(): Promise<Plan | undefined>;
  apply(plan: Plan): Promise<void>;
  /** Describes a plan that is still needed after all plans took effect. @returns `undefined` when that is no error */
  describeDrift(plan: Plan): string | undefined;
  /** Returns whether the same plan may be applied again after a failure. @default no */
  isPassing?(failure: FirewallError): boolean;
  /** Makes the next plan ask for less after a refusal. @returns false when it cannot */
  askForLess?(failure: FirewallError): boolean;
}

/**
 * Reads, plans and applies until nothing is left to do. Another program may change the rules between
 * reading and applying: a tool then refuses the plan, and the next round starts from what is there.
 *
 * @param attempts most rounds
 * @returns how many plans were applied
 * @throws {FirewallError} when the rules cannot be read, or a plan is refused or has no effect
 */
export async function applyUntilInPlace<Plan extends { readonly text: string }>(
  steps: ApplySteps<Plan>,
  attempts = 3,
): Promise<number> {
  let applied = 0;
  let last: Plan | undefined;
  let failure: FirewallError | undefined;
  for (let attempt = 0; attempt < attempts; attempt++) {
    const plan = await steps.plan();
    if (plan === undefined) return applied;
    // Refused once and nothing has changed since: it would be refused again.
    if (failure !== undefined && !steps.isPassing?.(failure) && plan.text === last?.text) {
      if (!steps.askForLess?.(failure)) break;
      continue;
    }
    last = plan;
    failure = undefined;
    try {
      await steps.apply(plan);
      applied++;
    } catch (error) {
      if (!(error instanceof FirewallError)) throw error;
      failure = error;
    }
  }
  const drift = failure === undefined ? steps.describeDrift(last!) : undefined;
  if (drift !== undefined) failure = new FirewallError(drift);
  if (failure !== undefined) throw failure;
  return applied;
}
