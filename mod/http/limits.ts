/** Limits of `serveHttp()`. */
export interface HttpLimits {
  /** Connections at a time; one more is answered 503, or closed where it has yet to make a handshake. */
  readonly connections: number;
  /** Likewise of one address. */
  readonly connectionsPerAddress: number;
  /** Bytes of answers that one address has not received yet; further answers are 503. */
  readonly answersPerAddress: number;
  /** Bytes of a request's body; a longer one is answered 413. */
  readonly body: number;
  /** Bytes of a request's head; a longer one is answered 431. */
  readonly head: number;
  /** Milliseconds that a request has to arrive once its first byte has, or the handshake to end. */
  readonly arrival: number;
  /** Milliseconds that a connection may be idle. */
  readonly idle: number;
  /** Milliseconds within which a client must receive an answer. */
  readonly departure: number;
}
