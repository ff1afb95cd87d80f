import { sleep } from "../async/sleep.ts";
import { formatIPv4, type IPv4 } from "../ip/mod.ts";
import { LEASE_TTL, type NodeRecord, sameBoot, type StoredNodeRecord } from "../lease/mod.ts";
import { info, warning } from "../observe/log/log.ts";
import { ConflictError, type NetworkStore, StoreError } from "../store/mod.ts";
import { RACES } from "./races.ts";

/**
 * Milliseconds that a newcomer waits for the holder of its public IP to object, after each reboot of
 * a host. A live holder sees the claim through its watch within milliseconds; the
 * grace covers one that is busy with a large resync, and one whose watch an outage has brought to
 * its longest back-off, 5 s.
 */
const GRACE = 6_000;

/** Milliseconds between two polls of the newcomer. */
const POLL = 200;

/** Options of {@linkcode claimIdentity}. */
export interface ClaimOptions {
  /** Milliseconds a holder has to object. @default 6000 */
  readonly grace?: number;
  /** Take the record back from another agent of this boot, too. @default false */
  readonly contest?: boolean;
  readonly signal: AbortSignal;
}

/**
 * Makes this agent the holder of its public IP, or finds out that another host is.
 *
 * Two hosts with one public IP would share one lease, hence one subnet: the guide's Vagrant
 * failure, since flannel knows hosts by that address alone. So each agent keeps a record under its
 * public IP. A record of this boot of this machine is taken over at once (a restart). Any other is
 * *claimed*: the newcomer writes its own record over it, naming the host it claims from, and waits. A
 * live holder watches its record and answers with a refusal ({@linkcode guardIdentity}); a dead
 * one does not, and its lease passes on. All writes are compare-and-swaps, so of any number of
 * claimants each one knows which it follows.
 *
 * @returns the record as stored
 * @throws {DuplicatePublicIPError} when the holder is alive
 * @throws {StoreError} as the store does; called again, it goes on from what it has written
 */
export async function claimIdentity(
  store: NetworkStore,
  publicIP: IPv4,
  own: NodeRecord,
  options: ClaimOptions,
): Promise<StoredNodeRecord> {
  return await untilSettled(publicIP, options.signal, async () => {
    const held = await store.agent(publicIP, { signal: options.signal });
    return await takeOver(store, publicIP, held, own, options);
  });
}

/**
 * Runs attempts until one ends. An attempt starts again when somebody has written the record between its
 * reading and its writing. An entry that is no node record is invisible to reads and blocks every write.
 *
 * @param attempt resolves with `undefined` to start over
 * @throws {StoreError} when ten in a row met something else than they had read
 */
async function untilSettled(
  publicIP: IPv4,
  signal: AbortSignal,
  attempt: () => Promise<StoredNodeRecord | undefined>,
): Promise<StoredNodeRecord> {
  for (let races = 0;;) {
    signal.throwIfAborted();
    try {
      const settled = await attempt();
      if (settled !== undefined) return settled;
      races = 0;
    } catch (cause) {
      if (!(cause instanceof ConflictError)) throw cause;
      if (++races < RACES) continue;
      throw new StoreError(
        `the node record of public IP ${formatIPv4(publicIP)} cannot be written: ` +
          `${cause.message}; if the entry is no node record, delete it`,
        { cause },
      );
    }
  }
}

/**
 * One attempt to become the holder after `held`.
 *
 * @returns `undefined` when everything has changed meanwhile
 * @throws {ConflictError} likewise
 */
async function takeOver(
  store: NetworkStore,
  publicIP: IPv4,
  held: StoredNodeRecord | undefined,
  own: NodeRecord,
  { grace = GRACE, signal }: ClaimOptions,
): Promise<StoredNodeRecord | undefined> {
  const call = { signal };
  if (held === undefined) {
    return await store.putNodeRecord(publicIP, own, LEASE_TTL, undefined, call);
  }
  const { record } = held;
  if (record.claims === undefined) {
    if (record.instance === own.instance) return held;
    if (sameBoot(record, own)) {
      return await store.putNodeRecord(publicIP, own, LEASE_TTL, held.revision, call);
    }
  } else if (record.instance !== own.instance && sameBoot(record.claims, own)) {
    // Restarted while a newcomer was asking for the one that we were.
    return await refuse(store, held, own, signal);
  }
  // A claim does not make a holder, not even this agent's own after an outage: the former holder has not
  // had the whole grace to object.
  let claimed = held;
  if (record.instance !== own.instance) {
    const { machineId, hostname, bootId, instance } = record;
    info(
      `Public IP ${formatIPv4(publicIP)} was last used by host ${hostname}; asking for ` +
        `${grace / 1000} s whether it is alive`,
    );
    const claim = { ...own, claims: { machineId, hostname, bootId, instance } };
    claimed = await store.putNodeRecord(publicIP, claim, LEASE_TTL, held.revision, call);
  }
  const settled = await outlastGrace(store, claimed, grace, signal);
  if (settled === undefined) return undefined;
  info(
    `Host ${claimed.record.claims!.hostname} did not answer; taking over public IP ` +
      formatIPv4(publicIP),
  );
  return await store.putNodeRecord(publicIP, own, LEASE_TTL, settled.revision, call);
}

/** Waits out the grace. Returns our claim as it stands then, or `undefined` to start over. */
async function outlastGrace(
  store: NetworkStore,
  claimed: StoredNodeRecord,
  grace: number,
  signal: AbortSignal,
): Promise<StoredNodeRecord | undefined> {
  const { publicIP, record: claim } = claimed;
  const until = performance.now() + grace;
  let standing = claimed;
  while (performance.now() < until) {
    await sleep(POLL, signal);
    signal.throwIfAborted();
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
 * Responds to a change of the holder's record that its watch reports.
 *
 * The watch may lag behind this agent's own writes, so that a record of another agent is only a reason
 * to read it.
 *
 * @param seen the record as the watch reported it
 * @returns our record as it stands now
 * @throws {DuplicatePublicIPError} when another live host has become the holder meanwhile, or
 * another agent of this host
 */
export async function guardIdentity(
  store: NetworkStore,
  seen: StoredNodeRecord | undefined,
  publicIP: IPv4,
  own: NodeRecord,
  options: ClaimOptions,
): Promise<StoredNodeRecord> {
  if (seen?.record.instance === own.instance) return seen;
  return await untilSettled(publicIP, options.signal, async () => {
    const stands = await store.agent(publicIP, { signal: options.signal });
    if (stands?.record.instance === own.instance) return stands;
    if (stands?.record.claims !== undefined) {
      return await refuse(store, stands, own, options.signal);
    }
    if (stands !== undefined && sameBoot(stands.record, own) && !options.contest) {
      // To take it back at once would be answered in kind, as fast as the store can.
      throw new DuplicatePublicIPError(publicIP, stands.record.hostname, true);
    }
    return await takeOver(store, publicIP, stands, own, options);
  });
}

/** Writes `own` over a claim, so that the claimant knows that it has to go. */
async function refuse(
  store: NetworkStore,
  { publicIP, record, revision }: StoredNodeRecord,
  own: NodeRecord,
  signal: AbortSignal,
): Promise<StoredNodeRecord> {
  const { instance: refuses, hostname } = record;
  const refused = await store.putNodeRecord(publicIP, { ...own, refuses }, LEASE_TTL, revision, {
    signal,
  });
  warning(
    `Host ${hostname} wants to use our public IP ${formatIPv4(publicIP)}; refused. It should be ` +
      `started with another -iface or -public-ip`,
    { hostname, publicIP: formatIPv4(publicIP) },
  );
  return refused;
}

/** Another live agent uses our public IP. The message is all that an operator needs. */
export class DuplicatePublicIPError extends Error {
  override readonly name = "DuplicatePublicIPError";

  /** @param isThisHost whether the other agent runs on this host. @default false */
  constructor(publicIP: IPv4, hostname: string, isThisHost = false) {
    const ip = formatIPv4(publicIP);
    super(
      isThisHost
        ? `public IP ${ip} is in use by another flanneld on this host, which was started later: ` +
          `one network needs only one. For a second network give each its own -etcd-prefix and ` +
          `-subnet-file`
        : `public IP ${ip} is in use by host ${hostname}: two hosts with one address would get ` +
          `the same subnet. Choose this host's own interface or address with -iface (for example ` +
          `-iface=eth1) or -public-ip`,
    );
  }
}
