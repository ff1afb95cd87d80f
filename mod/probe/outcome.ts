import { formatIPv4, type IPv4 } from "../ip/mod.ts";
import { Errno, SysError } from "../sys/mod.ts";
import { type ExtendedError, Origin } from "./control.ts";

/** Outcome of a packet without a reply. */
export type Failure =
  /** No reply within the time limit. */
  | { readonly type: "timeout" }
  /** Larger than the path's MTU with DF set. @property mtu in bytes @property by absent: this host */
  | { readonly type: "too-big"; readonly mtu: number; readonly by: IPv4 | undefined }
  /** ICMP destination unreachable or time exceeded. @property words for people */
  | {
    readonly type: "unreachable";
    readonly code: number;
    readonly by: IPv4;
    readonly words: string;
  }
  /** This host's kernel refused to send it: no route, or a rule of its firewall. */
  | { readonly type: "not-sent"; readonly error: SysError };

/** ICMP destination unreachable, RFC 792, RFC 1812 5.2.7.1 and RFC 1122 3.2.2.1. */
const UNREACHABLE = 3;
const FRAGMENTATION_NEEDED = 4;
/** No socket listens on the port. */
export const PORT_UNREACHABLE = 3;
/** Codes of firewalls: network, host, and communication administratively prohibited. */
export const PROHIBITED: readonly number[] = [9, 10, 13];
const WORDS: Readonly<Record<number, string>> = {
  0: "network unreachable",
  1: "host unreachable",
  2: "protocol unreachable",
  3: "port unreachable",
  9: "network administratively prohibited",
  10: "host administratively prohibited",
  13: "communication administratively prohibited",
};

/** Converts an entry of the error queue to the outcome of its packet. */
export function failureOf({ errno, origin, type, code, info, offender }: ExtendedError): Failure {
  if (origin === Origin.ICMP && offender !== undefined) {
    if (type === UNREACHABLE && code === FRAGMENTATION_NEEDED) {
      return { type: "too-big", mtu: info, by: offender };
    }
    const what = type === UNREACHABLE
      ? WORDS[code] ?? `ICMP unreachable, code ${code}`
      : `ICMP type ${type}, code ${code}`;
    return {
      type: "unreachable",
      code: type === UNREACHABLE ? code : -1,
      by: offender,
      words: `${what}, reported by ${formatIPv4(offender)}`,
    };
  }
  if (errno === Errno.EMSGSIZE) return { type: "too-big", mtu: info, by: undefined };
  return { type: "not-sent", error: new SysError("sendto", errno) };
}
