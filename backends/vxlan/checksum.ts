/**
 * The kernel's checksum bug of encapsulated packets (flannel issue 1279, Kubernetes issue 88986).
 *
 * A packet that enters a vxlan device with its checksum left to be computed later is encapsulated in a UDP
 * datagram without a checksum, which is legal. When a rule then masquerades the outer datagram (a mark of
 * the inner packet is still on it, and kube-proxy's and the kubelet's rules act on it), netfilter updates
 * the checksum that is not there, and the receiver drops the datagram: TCP connections stand after 63 s,
 * UDP (DNS) never works. Commit ea64d8d6c675 ("netfilter: nat: never update the UDP checksum when it's 0")
 * fixed it in Linux 5.7, and in the stable releases below.
 *
 * @module
 */

/** Wanted transmit checksum offload of the vxlan device: `-vxlan-tx-checksum`. */
export type TxChecksum = "auto" | "on" | "off";

/** First release of each stable branch that has the fix. */
const FIXED: Readonly<Record<string, number>> = {
  "4.14": 181,
  "4.19": 123,
  "5.4": 41,
  "5.6": 13,
};

/** Red Hat keeps the version of Enterprise Linux 8 at 4.18.0; RHEL 8.4's build is known to have the fix. */
const FIXED_EL8_BUILD = 305;

/**
 * True when this kernel is not known to be free of the bug. Distributions that keep a version while they
 * fix it (Ubuntu's 5.4.0) count as broken: offload only saves some processor time.
 *
 * @param release as `uname -r` prints it: `5.4.0-42-generic`
 */
export function hasChecksumBug(release: string): boolean {
  const match = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(release);
  if (match === null) return true;
  const [major, minor, patch] = [match[1], match[2], match[3] ?? "0"].map(Number) as [
    number,
    number,
    number,
  ];
  if (major > 5 || (major === 5 && minor >= 7)) return false;
  const el8 = /^4\.18\.0-(\d+)\..*el8/.exec(release);
  if (el8 !== null) return Number(el8[1]) < FIXED_EL8_BUILD;
  const first = FIXED[`${major}.${minor}`];
  return first === undefined || patch < first;
}

/** Returns the wanted offload; `undefined` to leave it alone. */
export function wantedTxChecksum(mode: TxChecksum, release: string): boolean | undefined {
  if (mode !== "auto") return mode === "on";
  return hasChecksumBug(release) ? false : undefined;
}
