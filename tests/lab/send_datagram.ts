/** A UDP datagram to be sent from a host or a container of a test. */
export interface Datagram {
  readonly address: string;
  readonly port: number;
  /** @default one byte */
  readonly payload?: Uint8Array;
  /** An address of the sender. @default the kernel's choice */
  readonly source?: string;
  /** User id of the sender. @default 65534, nobody */
  readonly uid?: number;
}

/** Sends `payload` (hexadecimal) to an address and port, from a source; perl-base is on every Debian. */
const SCRIPT = "my ($to, $port, $hex, @from) = @ARGV; " +
  'my $socket = IO::Socket::INET->new(Proto => "udp", PeerAddr => $to, PeerPort => $port, ' +
  'map { (LocalAddr => $_) } @from) or die "socket: $@"; ' +
  'defined $socket->send(pack("H*", $hex)) or die "send: $!"';

/** The command that sends datagrams, one after the other, each by a process of its own. */
export function sendDatagrams(...datagrams: readonly Datagram[]): string[] {
  const lines = datagrams.map((
    { address, port, payload = new Uint8Array(1), source, uid = 65534 },
  ) =>
    `setpriv --reuid=${uid} --clear-groups perl -MIO::Socket::INET -e '${SCRIPT}' ` +
    [address, port, payload.toHex(), source ?? ""].join(" ")
  );
  return ["sh", "-c", lines.join(" && ")];
}
