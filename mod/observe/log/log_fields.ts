/**
 * Values that go with a message; JSON lines carry them as members under these names.
 *
 * This is the dictionary of them, and docs/operate/monitoring.md has it for operators: a field that is not
 * here does not compile, one that is not there fails a test. Names are shared by all messages, so that a
 * search for one subnet finds all lines about it.
 */
export interface LogFields {
  /** Type of a backend: `vxlan`. */
  readonly backend?: string | undefined;
  /** The command that was run, with its arguments. */
  readonly command?: string | undefined;
  /** The network's config as stored. */
  readonly config?: string | undefined;
  /** How many. */
  readonly count?: number | undefined;
  /** Name of a device managed by flanneld: `flannel.1`. */
  readonly device?: string | undefined;
  /** The error, in the words of the program or the kernel that reported it. */
  readonly error?: string | undefined;
  /** When a lease runs out, RFC 3339 in UTC. */
  readonly expires?: string | undefined;
  /** Path of a file. */
  readonly file?: string | undefined;
  /** Name of another host, in its node record. */
  readonly hostname?: string | undefined;
  /** Name of the external interface. */
  readonly interface?: string | undefined;
  /** Bytes. */
  readonly mtu?: number | undefined;
  /** Range of the overlay network. */
  readonly network?: Text | undefined;
  /** Name of a network with -networks. */
  readonly networkName?: string | undefined;
  /** The damaged kernel object. */
  readonly object?: string | undefined;
  /** The previous value: a subnet, an MTU, a config. */
  readonly previous?: Text | number | undefined;
  /** Public IP of the host that the line is about, dotted. */
  readonly publicIP?: string | undefined;
  /** Why something was decided. */
  readonly reason?: string | undefined;
  /** How often the line was suppressed. */
  readonly repeats?: number | undefined;
  /** A time that passed. */
  readonly seconds?: number | undefined;
  /** The store: `etcd v2 at http://10.0.0.1:2379, prefix /flannel/network`. */
  readonly store?: string | undefined;
  /** Subnet of the lease that the line is about. */
  readonly subnet?: Text | undefined;
  /** Version of the agent. */
  readonly version?: string | undefined;
}

/** A text, or an object with toString(), such as a prefix. An address is a number: format it first. */
type Text = string | (object & { toString(): string });
