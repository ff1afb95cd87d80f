import type { HostCommands } from "./command.ts";
import { FirewallError } from "./errors.ts";
import type { EnsureResult, Firewall, FirewallSpec, PreviousNetwork } from "./firewall.ts";
import { type DesiredChains, holdsOurs, NOTHING, planRestore } from "./plan.ts";
import { desiredRules } from "./rules.ts";
import { chooseIptables, type Iptables, type IptablesChoice } from "./iptables.ts";

/** How often to read, plan and apply until nothing is left to do. */
const ATTEMPTS = 4;

/** Exit status of iptables when the kernel was busy or the lock taken: the same may work now. */
const RESOURCE_PROBLEM = 4;

/**
 * The rules in iptables, of either kind.
 *
 * Cost of an {@linkcode ensure} that finds all in place: one process, iptables-save. That is 2.4 ms
 * with some twenty rules of others on the host, whom it grows with: 20,000 rules make it 250 ms in
 * the nft set and 40 ms in the legacy one. When something is amiss, one iptables-restore and
 * one more iptables-save, to see that it has helped, come to it.
 */
export class IptablesFirewall implements Firewall {
  readonly #spec: FirewallSpec;
  readonly #networks: readonly PreviousNetwork[];
  readonly #commands: HostCommands;
  #choice: IptablesChoice | undefined;
  /** {@linkcode ensure} has once left all rules in place. */
  #settled = false;
  /** Ends when the call before has: two at a time would each undo what the other read. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(
    spec: FirewallSpec,
    networks: readonly PreviousNetwork[],
    commands: HostCommands,
    choice: IptablesChoice | undefined,
  ) {
    this.#spec = spec;
    this.#networks = networks;
    this.#commands = commands;
    this.#choice = choice;
  }

  get description(): string {
    if (this.#choice !== undefined) return this.#choice.use.description;
    return "none: iptables was not found, so nothing is done to accept forwarded packets; " +
      `if this host drops them by other means, let it accept ${this.#spec.network}`;
  }

  check(): Promise<readonly string[]> {
    return this.#exclusive(async () => {
      const choice = await this.#choose();
      if (choice === undefined) return [];
      const plan = planRestore(await choice.use.save(), this.#desired(choice.use), this.#networks);
      return plan?.differences ?? [];
    });
  }

  ensure(): Promise<EnsureResult> {
    return this.#exclusive(async () => {
      const choice = await this.#choose();
      if (choice === undefined) return "unchanged";
      let changed = await this.#reconcile(choice.use, this.#desired(choice.use));
      if (choice.stray !== undefined) {
        changed = await this.#reconcile(choice.stray, NOTHING) || changed;
        this.#choice = { use: choice.use };
      }
      const result = !changed ? "unchanged" : this.#settled ? "repaired" : "applied";
      this.#settled = true;
      return result;
    });
  }

  remove(): Promise<void> {
    return this.#exclusive(async () => {
      const choice = await this.#choose();
      if (choice === undefined) return;
      await this.#reconcile(choice.use, NOTHING);
      if (choice.stray !== undefined) await this.#reconcile(choice.stray, NOTHING);
      this.#choice = { use: choice.use };
      this.#settled = false;
    });
  }

  /**
   * Reads, plans and applies until the plan is empty. Another program may change the rules between
   * our reading and applying; iptables-restore then refuses to delete what is gone, and the next
   * round starts from what is there.
   *
   * @returns whether anything was changed
   */
  async #reconcile(iptables: Iptables, desired: DesiredChains): Promise<boolean> {
    let applied: string | undefined;
    let failure: FirewallError | undefined;
    let fresh = false;
    let differences: readonly string[] = [];
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const saved = await iptables.save();
      const plan = planRestore(saved, desired, this.#networks);
      if (plan === undefined) return attempt > 0;
      if (attempt === 0) fresh = !holdsOurs(saved, this.#networks);
      // Refused once and nothing has changed since: it would be refused again.
      if (failure !== undefined && failure.status !== RESOURCE_PROBLEM && plan.text === applied) {
        break;
      }
      failure = undefined;
      differences = plan.differences;
      applied = plan.text;
      try {
        await iptables.restore(plan.text);
      } catch (error) {
        if (!(error instanceof FirewallError)) throw error;
        failure = error;
      }
    }
    if (fresh && desired !== NOTHING) await this.#undo(iptables);
    throw failure ?? new FirewallError(
      `${iptables.name} takes the rules, yet ${differences.join(", ")}; is another program ` +
        "changing them all the time?",
    );
  }

  /** Takes away what a failed start has put in place: one table may have been committed. */
  async #undo(iptables: Iptables): Promise<void> {
    try {
      const plan = planRestore(await iptables.save(), NOTHING, this.#networks);
      if (plan !== undefined) await iptables.restore(plan.text);
    } catch (error) {
      // The error that led here says more.
      if (!(error instanceof FirewallError)) throw error;
    }
  }

  #desired(iptables: Iptables): DesiredChains {
    const randomFully = this.#spec.randomFully && iptables.hasRandomFully;
    return (chain) => desiredRules(chain, { ...this.#spec, randomFully });
  }

  async #choose(): Promise<IptablesChoice | undefined> {
    this.#choice ??= await chooseIptables(this.#commands, this.#networks);
    return this.#choice;
  }

  #exclusive<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(action);
    this.#turn = result.catch(() => {});
    return result;
  }
}
