/**
 * Evaluation of two answers of `/status`: throughput and state of each link. This module does not
 * use the document.
 *
 * @module
 */

/** Keys of a network's answer: networks go by name, peers by subnet. */
const byKey = (list, key) => new Map(list.map((item) => [item[key], item]));

/**
 * Returns bytes per second between two counts.
 *
 * @returns null without counters, or when they were reset in between
 */
export function rate(before, after, seconds) {
  if (!before || !after || seconds <= 0) return null;
  const sent = (after.sentBytes - before.sentBytes) / seconds;
  const received = (after.receivedBytes - before.receivedBytes) / seconds;
  return sent < 0 || received < 0 ? null : { sent, received };
}

/** Returns the share of unanswered ICMP echo requests, 0 to 1; null for a peer that is not probed. */
export function loss(roundTrip) {
  return roundTrip && roundTrip.sent > 0 ? roundTrip.lost / roundTrip.sent : null;
}

/** Returns the state of a link: `refused`, `lost` (no reply to the last ICMP echo request), `unknown` or `good`. */
function linkState({ refused, roundTrip }) {
  if (refused !== null) return "refused";
  if (roundTrip === null) return "unknown";
  return roundTrip.lastMs === null ? "lost" : "good";
}

/**
 * One network as it is drawn: its peers with their rates.
 *
 * @param earlier the same network in an earlier answer, if there was one
 * @param seconds between the two
 */
export function links(network, earlier, seconds) {
  const before = byKey(earlier?.peers.list ?? [], "subnet");
  return network.peers.list.map((peer) => ({
    ...peer,
    state: linkState(peer),
    loss: loss(peer.roundTrip),
    rate: rate(before.get(peer.subnet)?.traffic, peer.traffic, seconds),
  }));
}

/** Selects the links to draw: faulty ones first, then the busiest. */
export function foremost(list, count) {
  const weight = { refused: 2, lost: 2, unknown: 0, good: 0 };
  const busy = ({ rate }) => rate ? rate.sent + rate.received : 0;
  return [...list]
    .sort((a, b) => weight[b.state] - weight[a.state] || busy(b) - busy(a))
    .slice(0, count);
}

/** The networks of an answer, each with the same of an earlier answer. */
export function pairs(answer, earlier) {
  const before = byKey(earlier?.networks ?? [], "name");
  return answer.networks.map((network) => [network, before.get(network.name)]);
}

/** `12.3 Mbit/s`. */
export function bits(bytesPerSecond) {
  if (bytesPerSecond === null) return "–";
  let value = bytesPerSecond * 8;
  for (const unit of ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"]) {
    if (value < 999.5 || unit === "Gbit/s") return `${short(value)} ${unit}`;
    value /= 1000;
  }
}

/** `1.5 GB`. */
export function bytes(count) {
  let value = count;
  for (const unit of ["B", "kB", "MB", "GB", "TB"]) {
    if (value < 999.5 || unit === "TB") return `${short(value)} ${unit}`;
    value /= 1000;
  }
}

/** `0.42 ms`, `no answer`, `not probed`. */
export function milliseconds(roundTrip) {
  if (roundTrip === null) return "not probed";
  return roundTrip.lastMs === null ? "no answer" : `${short(roundTrip.lastMs)} ms`;
}

/** `0 %`. */
export function percent(share) {
  return share === null ? "–" : `${short(share * 100)} %`;
}

/** `1 d 3 h`, `5 min`, `12 s`: two units at most. */
export function duration(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  let rest = Math.max(0, Math.round(seconds));
  const parts = [];
  for (const [unit, size] of units) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) parts.push(`${count} ${unit}`);
    if (parts.length === 2 || (parts.length === 1 && count === 0)) break;
  }
  return parts.join(" ") || "0 s";
}

/** Formats a number with at most three digits. */
function short(value) {
  if (value === 0) return "0";
  if (value >= 100) return value.toFixed(0);
  if (value >= 10) return value.toFixed(1).replace(/\.0$/, "");
  return value.toFixed(2).replace(/\.?0+$/, "");
}
