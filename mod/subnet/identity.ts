import { setTimeout as sleep } from "node:timers/promises";
import { formatIPv4, type IPv4 } from "../ip/mod.ts";
import { type AgentRecord, LEASE_TTL, sameBoot, type StoredAgentRecord } from "../lease/mod.ts";
import { info, warning } from "../observe/log.ts";
import { ConflictError, type Store } from "../store/mod.ts";

/**
 * How long a newcomer waits for the holder of its public IP to object, in milliseconds. A live
 * holder sees the claim through its watch within milliseconds; the grace covers one that is
 * reconnecting to the store or busy with a large resync.
 */
const GRACE = 3_000;

/** How often the newcomer looks, in milliseconds. */
const POLL = 200;

/** Options of {@linkcode claimIdentity}. */
export interface ClaimOptions {
  /** Milliseconds a holder has to object. @default 3000 */
  readonly grace?: number;
  readonly signal: AbortSignal;
}

/**
 * Makes this agent the holder of its public IP, or finds out that another host is.
 *
 * Two hosts with one public IP would share one lease, hence one subnet: the guide's Vagrant
 * failure, since flannel knows hosts by that address alone. So each agent keeps a record under its
 * public IP. A record of this boot of this machine is taken over at once (a restart). Any other is
 * *claimed*: the newcomer writes its own record over it, saying whom it claims from, and waits. A
 * live holder watches its record and answers with a refusal ({@linkcode guardIdentity}); a dead
 * one does not, and its lease passes on. All writes are compare-and-swaps, so of any number of
 * claimants each one knows which it follows.
 *
 * @returns the record as stored
 * @throws {DuplicatePublicIPError} when the holder is alive
 */
export async function claimIdentity(
  store: Store,
  publicIP: IPv4,
  own: AgentRecord,
  { grace = GRACE, signal }: ClaimOptions,
): Promise<StoredAgentRecord> {
  const call = { signal };
  for (;;) {
    signal.throwIfAborted();
    try {
      const held = await store.agent(publicIP, call);
      if (held === undefined) {
        return await store.putAgent(publicIP, own, LEASE_TTL, undefined, call);
      }
      if (held.record.instance === own.instance && held.record.claims === undefined) return held;
      if (held.record.instance === own.instance || sameBoot(held.record, own)) {
        return await store.putAgent(publicIP, own, LEASE_TTL, held.revision, call);
      }
      const { instance, hostname } = held.record;
      info(
        `Public IP ${formatIPv4(publicIP)} was last used by host ${hostname}; asking for ` +
          `${grace / 1000} s whether it is alive`,
      );
      const claim: AgentRecord = { ...own, claims: { instance, hostname } };
      const claimed = await store.putAgent(publicIP, claim, LEASE_TTL, held.revision, call);
      const settled = await outlastGrace(store, claimed, claim, grace, signal);
      if (settled === undefined) continue;
      info(`Host ${hostname} did not answer; taking over public IP ${formatIPv4(publicIP)}`);
      return await store.putAgent(publicIP, own, LEASE_TTL, settled.revision, call);
    } catch (error) {
      // Somebody wrote the record between our read and our write: look again.
      if (!(error instanceof ConflictError)) throw error;
    }
  }
}

/** Waits out the grace. Returns our claim as it stands then, or `undefined` to start over. */
async function outlastGrace(
  store: Store,
  claimed: StoredAgentRecord,
  claim: AgentRecord,
  grace: number,
  signal: AbortSignal,
): Promise<StoredAgentRecord | undefined> {
  const { publicIP } = claimed;
  const until = performance.now() + grace;
  let standing = claimed;
  while (performance.now() < until) {
    await sleep(POLL, undefined, { signal });
    const seen = await store.agent(publicIP, { signal });
    if (seen === undefined) return undefined;
    if (seen.record.instance === claim.instance) {
      standing = seen;
    } else if (seen.record.claims?.instance === claim.instance) {
      // A second newcomer behind us: we were first, it has to go.
      standing = await refuse(store, seen, claim, signal);
    } else {
      throw new DuplicatePublicIPError(publicIP, seen.record.hostname);
    }
  }
  return standing;
}

/**
 * What a holder does when its record was written by somebody else, as its watch reports.
 *
 * @returns our record as it stands now
 * @throws {DuplicatePublicIPError} when another live host has become the holder meanwhile
 */
export async function guardIdentity(
  store: Store,
  seen: StoredAgentRecord | undefined,
  publicIP: IPv4,
  own: AgentRecord,
  options: ClaimOptions,
): Promise<StoredAgentRecord> {
  if (seen?.record.instance === own.instance) return seen;
  if (seen?.record.claims === undefined) return await claimIdentity(store, publicIP, own, options);
  warning(
    `Host ${seen.record.hostname} wants to use our public IP ${formatIPv4(publicIP)}; refusing. ` +
      `It should be started with another -iface or -public-ip`,
    { host: seen.record.hostname },
  );
  try {
    return await refuse(store, seen, own, options.signal);
  } catch (error) {
    if (!(error instanceof ConflictError)) throw error;
    return await guardIdentity(
      store,
      await store.agent(publicIP, { signal: options.signal }),
      publicIP,
      own,
      options,
    );
  }
}

function refuse(
  store: Store,
  claimant: StoredAgentRecord,
  own: AgentRecord,
  signal: AbortSignal,
): Promise<StoredAgentRecord> {
  return store.putAgent(
    claimant.publicIP,
    { ...own, refuses: claimant.record.instance },
    LEASE_TTL,
    claimant.revision,
    { signal },
  );
}

/** Another live host uses our public IP. The message is all that an operator needs. */
export class DuplicatePublicIPError extends Error {
  override readonly name = "DuplicatePublicIPError";

  constructor(publicIP: IPv4, hostname: string) {
    super(
      `public IP ${formatIPv4(publicIP)} is in use by host ${hostname}: two hosts with one ` +
        `address would get the same subnet. Choose this host's own interface or address with ` +
        `-iface (for example -iface=eth1) or -public-ip`,
    );
  }
}
