import type { SourceCheck } from "../../../backends/backend.ts";
import type { NetworkConfig } from "../../config/mod.ts";
import type { IPv4 } from "../../ip/mod.ts";
import type { Lease } from "../../lease/mod.ts";
import { info } from "../../observe/mod.ts";
import type { LeaseSetChange } from "../../subnet/mod.ts";
import { peersOf } from "./firewall_spec.ts";
import { NO_GUARD, SourcePolicy, type SourceVerdict } from "./source_policy.ts";
import { Timer } from "../core/timer.ts";

/**
 * How long all peers have to ask for strictness before it begins, in milliseconds: a host that joins advertises
 * nothing until its rules are in place, and each change is an exchange of programs or rules on every host.
 */
const STRICT_DELAY = 5_000;

/** Returns the public IPs of peers that may send more sources, one per lease: those that wrote it with credentials. */
export function sourcePeers(leases: Iterable<Lease>, config: NetworkConfig, own: Lease): IPv4[] {
  const authenticated = [...leases].filter(({ attributes }) => !attributes.isUnauthenticated);
  return peersOf(authenticated, config, own).map(({ publicIP }) => publicIP);
}

/** The network whose sources are decided. */
export interface SourceScope {
  readonly check: SourceCheck | undefined;
  readonly config: NetworkConfig;
  /** This host's lease. */
  readonly own: Lease;
}

/** Whether packets from peers with sources outside the network are refused: what is in force, and when that changes. */
export class SourceControl implements Disposable {
  readonly #policy: SourcePolicy;
  /** Set while strictness is about to begin. */
  readonly #soon: Timer;
  #scope: SourceScope | undefined;

  /**
   * @param featuresOf a host's, by its node record
   * @param onDue called when {@linkcode SourceControl.decide} is due
   */
  constructor(featuresOf: (publicIP: IPv4) => readonly string[], onDue: () => void) {
    this.#policy = new SourcePolicy(featuresOf);
    this.#soon = new Timer(onDue);
  }

  /** True while they are refused. */
  get isStrict(): boolean {
    return this.#policy.isStrict;
  }

  /** Starts with a network and its leases; their decision is in force at once. */
  begin(scope: SourceScope, leases: Iterable<Lease>): void {
    this.#scope = scope;
    this.#policy.replace(this.#peers(leases));
    this.#policy.isStrict = this.#policy.verdict(scope.check).isStrict;
    this.#soon.clear();
  }

  /** Applies a change of the leases; {@linkcode SourceControl.decide} is due then. */
  apply({ added, removed, changed }: LeaseSetChange): void {
    this.#policy.change(
      this.#peers([...removed, ...changed.map(({ before }) => before)]),
      this.#peers([...added, ...changed.map(({ after }) => after)]),
    );
  }

  /** Applies changed features of hosts; {@linkcode SourceControl.decide} is due then. */
  featuresChanged(hosts: Iterable<IPv4>): void {
    this.#policy.featuresChanged(hosts);
  }

  /**
   * Puts the decision of peers and options in force.
   *
   * @param when strictness begins `now`, or `delayed` by {@linkcode STRICT_DELAY} without objection
   * @returns true when {@linkcode SourceControl.isStrict} has changed
   */
  decide(when: "now" | "delayed"): boolean {
    const { isStrict } = this.#policy.verdict(this.#scope?.check);
    if (isStrict && !this.isStrict && when === "delayed") {
      if (!this.#soon.isSet) this.#soon.set(STRICT_DELAY);
      return false;
    }
    this.#soon.clear();
    const isChanged = isStrict !== this.isStrict;
    this.#policy.isStrict = isStrict;
    return isChanged;
  }

  /**
   * The verdict in force, and its reason; `undefined` where nothing encapsulates packets.
   *
   * @param isGuarding the firewall has the rules that it was asked for
   */
  verdict(isGuarding: boolean): SourceVerdict | undefined {
    const check = this.#scope?.check;
    if (check === undefined) return undefined;
    if (check.by === "firewall" && !isGuarding) return NO_GUARD;
    const { isStrict, reason } = this.#policy.verdict(check);
    return {
      isStrict: this.isStrict,
      reason: isStrict === this.isStrict ? reason : `${reason}; about to change`,
    };
  }

  /** Logs it. */
  report(isGuarding: boolean): void {
    const verdict = this.verdict(isGuarding);
    if (verdict === undefined) return;
    const verb = verdict.isStrict ? "refusing" : "accepting";
    info(`${verb} packets from peers with sources outside the network: ${verdict.reason}`);
  }

  #peers(leases: Iterable<Lease>): IPv4[] {
    if (this.#scope === undefined) return [];
    const { config, own } = this.#scope;
    return sourcePeers(leases, config, own);
  }

  [Symbol.dispose](): void {
    this.#soon[Symbol.dispose]();
  }
}
