import type { Prefix } from "../ip/mod.ts";
import { Errno, type IpSetHeader, IpSets, SysError } from "../sys/mod.ts";
import { FirewallError } from "./errors.ts";
import type { PeerSources, SourcesChange } from "./peer_sources.ts";
import { NFPROTO_IPV4 } from "../sys/netlink/netfilter/netfilter.ts";
import type { RuleChange } from "./ruleset.ts";

/** Name of the set without a tag. */
const BASE_NAME = "flannel-peers";

/** Capacity for subnet and public IP of more than 60,000 peers. The kernel allocates memory only for elements. */
const MAX_ELEMENTS = 262_144;

/** Exists when the kernel has IP sets, built in or as a loaded module. */
const MODULE = "/sys/module/ip_set";

/** Returns the name of the IP set with the sources of a network's peers. @param tag see `chainTag` */
export function peerSetName(tag: string | undefined): string {
  return tag === undefined ? BASE_NAME : `${BASE_NAME}-${tag}`;
}

/** Limit of elements to list in a plan; more are summed up. */
const MOST_LISTED = 20;

/**
 * The sources of peers in an IP set of the kernel, for iptables rules.
 *
 * The kernel does not report changes of IP sets, so {@linkcode ensure} compares the number of elements, which
 * detects a flushed or destroyed set at O(1). All calls are synchronous.
 */
export class PeerSet {
  readonly name: string;
  readonly #sources: PeerSources;
  readonly #netns: string | undefined;
  /** True when the set had all elements after the last call, so that their number suffices as a check. */
  #isComplete = false;

  /** @param tag of the network */
  constructor(tag: string | undefined, sources: PeerSources, netns?: string) {
    this.name = peerSetName(tag);
    this.#sources = sources;
    this.#netns = netns;
  }

  /** Returns the changes that {@linkcode ensure} would make. @throws {FirewallError} when sets cannot be read */
  check(): RuleChange[] {
    return this.#with((sets) => {
      const isThere = isUsable(sets.header(this.name));
      const { missing, surplus } = this.#difference(isThere ? sets.elements(this.name) : []);
      return [
        ...(isThere ? [] : [{ sign: "+" as const, rule: this.#create }]),
        ...this.#list("-", surplus),
        ...this.#list("+", missing),
      ];
    });
  }

  /**
   * Creates the set and reconciles its elements.
   *
   * @returns true when the set was damaged since the last call
   * @throws {FirewallError} when the kernel has no IP sets, or refuses this one
   */
  ensure(): boolean {
    return this.#with((sets) => {
      const wasComplete = this.#isComplete;
      const header = sets.header(this.name);
      const isThere = isUsable(header);
      if (isThere && wasComplete && header!.elements === this.#sources.size) return false;
      if (!isThere) {
        // A set of another type. The kernel refuses the removal while a rule refers to it.
        sets.destroy(this.name);
        sets.create(this.name, MAX_ELEMENTS);
      }
      const { missing, surplus } = this.#difference(isThere ? sets.elements(this.name) : []);
      sets.delete(this.name, surplus);
      sets.add(this.name, missing);
      this.#isComplete = true;
      return wasComplete;
    });
  }

  /**
   * Applies one change to the kernel. Cost: O(changes). The next {@linkcode ensure} repairs a failure.
   */
  change({ added, removed }: SourcesChange): void {
    if (!this.#isComplete) return;
    try {
      this.#with((sets) => {
        sets.delete(this.name, removed);
        sets.add(this.name, added);
      });
    } catch (error) {
      if (!(error instanceof FirewallError)) throw error;
    }
  }

  /** Returns the objects that {@linkcode remove} would remove. @throws {FirewallError} when sets cannot be read */
  staleState(): RuleChange[] {
    if (!hasModule()) return [];
    const header = this.#with((sets) => sets.header(this.name));
    return header === undefined ? [] : [{ sign: "-", rule: this.#create }];
  }

  /**
   * Removes the set.
   *
   * @throws {FirewallError} while a rule refers to it
   */
  remove(): void {
    // Without the check a request would load the module.
    if (hasModule()) this.#with((sets) => sets.destroy(this.name));
    this.#isComplete = false;
  }

  get #create(): string {
    return `ipset create ${this.name} hash:net`;
  }

  #list(sign: "+" | "-", elements: readonly Prefix[]): RuleChange[] {
    const add = `ipset add ${this.name}`;
    return elements.length > MOST_LISTED
      ? [{ sign, rule: `${add}: ${elements.length} elements` }]
      : elements.map((element) => ({ sign, rule: `${add} ${element}` }));
  }

  #difference(elements: readonly Prefix[]): { missing: Prefix[]; surplus: Prefix[] } {
    const present = new Set(elements.map(({ key }) => key));
    return {
      missing: [...this.#sources.values()].filter(({ key }) => !present.has(key)),
      surplus: elements.filter((prefix) => !this.#sources.has(prefix)),
    };
  }

  #with<T>(action: (sets: IpSets) => T): T {
    try {
      using sets = new IpSets({ netns: this.#netns });
      return action(sets);
    } catch (cause) {
      if (!(cause instanceof SysError)) throw cause;
      this.#isComplete = false;
      const why = ABSENT.includes(cause.errno)
        ? "the kernel has no IP sets (module ip_set_hash_net)"
        : cause.message;
      throw new FirewallError(`IP set ${this.name}: ${why}`, { cause });
    }
  }
}

/** Answers of a kernel without IP sets; the last is IPSET_ERR_FIND_TYPE of linux/netfilter/ipset/ip_set.h. */
const ABSENT: readonly number[] = [Errno.EINVAL, Errno.EOPNOTSUPP, 4098];

function isUsable(header: IpSetHeader | undefined): boolean {
  return header?.type === "hash:net" && header.family === NFPROTO_IPV4 &&
    header.maxElements >= MAX_ELEMENTS;
}

function hasModule(): boolean {
  try {
    return Deno.statSync(MODULE).isDirectory;
  } catch {
    return false;
  }
}
