import type { IPv4, Prefix } from "../ip/mod.ts";
import type { StoredNodeRecord } from "../lease/mod.ts";
import {
  decodeAgentPut,
  decodeConfigPut,
  decodeLeasePut,
  encodeAgent,
  encodeLease,
  encodePoll,
  encodeSnapshot,
  HELD_POLL,
  type ServedSnapshot,
} from "../store/remote/extension.ts";
import { Deadline } from "../store/deadline.ts";
import { type Caller, requireTrust } from "./access.ts";
import type { ServedNetwork } from "./networks.ts";
import { requireOwnDeletion, requireOwnLease, requireOwnRecord } from "./own_entries.ts";

/** `GET store`: what there is. */
export async function getStore(network: ServedNetwork): Promise<string> {
  return encodeSnapshot(await readSnapshot(network));
}

/** `GET store?next=C`: what has happened since. */
export async function pollStore(
  network: ServedNetwork,
  cursor: string,
  signal: AbortSignal,
): Promise<string> {
  // A little less each time, so that clients that came together do not come together for ever.
  using held = new Deadline(HELD_POLL * (0.9 + Math.random() / 10), () => undefined, signal);
  const polled = await network.feed.poll(cursor, () => true, held.signal);
  signal.throwIfAborted();
  if (polled === "lost") {
    return encodePoll({
      reason: "the server does not know what has happened since",
      snapshot: await readSnapshot(network),
    });
  }
  const changes = polled.entries.map(({ change }) => change);
  return encodePoll({ changes, cursor: polled.cursor });
}

/** `GET store/leases/{key}`; `undefined` when there is none. */
export async function getLease(
  { store }: ServedNetwork,
  subnet: Prefix,
): Promise<string | undefined> {
  const lease = await store.lease(subnet);
  return lease && encodeLease(lease);
}

/** `PUT store/leases/{key}` */
export async function putLease(
  network: ServedNetwork,
  subnet: Prefix,
  body: string,
  caller: Caller,
): Promise<string> {
  const { store } = network;
  const put = decodeLeasePut(body);
  await requireOwnLease(network, subnet, put, caller);
  const { attributes, ttl, revision } = put;
  return encodeLease(
    revision === undefined
      ? await store.createLease(subnet, attributes, ttl)
      : await store.updateLease({ subnet, attributes, revision }, attributes, ttl),
  );
}

/** `DELETE store/leases/{key}?revision=R` */
export async function deleteLease(
  network: ServedNetwork,
  subnet: Prefix,
  revision: string,
  caller: Caller,
): Promise<void> {
  await requireOwnDeletion(network, subnet, caller);
  await network.store.removeLease({ subnet, attributes: { publicIP: 0 }, revision });
}

/** `GET store/agents/{ip}`; `undefined` when there is none. */
export async function getAgent(
  { store }: ServedNetwork,
  publicIP: IPv4,
): Promise<string | undefined> {
  const agent = await store.agent(publicIP);
  return agent && encodeAgent(agent);
}

/** `PUT store/agents/{ip}` */
export async function putAgent(
  { store }: ServedNetwork,
  publicIP: IPv4,
  body: string,
  caller: Caller,
): Promise<string> {
  const put = decodeAgentPut(body);
  requireOwnRecord(publicIP, put, caller);
  const { record, ttl, revision } = put;
  return encodeAgent(await store.putAgent(publicIP, record, ttl, revision));
}

/** `DELETE store/agents/{ip}?revision=R` */
export async function deleteAgent(
  { store }: ServedNetwork,
  publicIP: IPv4,
  revision: string,
  caller: Caller,
): Promise<void> {
  requireOwnRecord(publicIP, undefined, caller);
  // Of a record that is to go only its revision counts.
  await store.removeAgent({ publicIP, revision } as StoredNodeRecord);
}

/** `PUT store/config` */
export async function putConfig(
  { store }: ServedNetwork,
  body: string,
  caller: Caller,
): Promise<void> {
  requireTrust(caller, "the network config");
  const { text, expected } = decodeConfigPut(body);
  await store.putConfig(text ?? "", expected);
}

/** `DELETE store/config` */
export async function deleteConfig(
  { store }: ServedNetwork,
  body: string,
  caller: Caller,
): Promise<void> {
  requireTrust(caller, "the network config");
  await store.removeConfig(decodeConfigPut(body).expected ?? "");
}

async function readSnapshot({ feed, store }: ServedNetwork): Promise<ServedSnapshot> {
  const { snapshot, cursor } = await feed.read();
  return { ...snapshot, cursor, leaseForm: store.leaseForm };
}
