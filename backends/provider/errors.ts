/** Why a provider did not do what it was asked; it decides what happens next. */
export type ProviderErrorKind =
  /** The credentials do not allow it: only an operator can fix this. */
  | "denied"
  /** Asked too often; worth another try. */
  | "throttled"
  /** No answer, or the provider's own failure; worth another try. */
  | "unavailable"
  /** The object to be changed does not exist. */
  | "missing"
  /** The object to be created exists. */
  | "exists"
  /** A quota of the account is used up. */
  | "limit"
  /** This host or its config does not fit; the message has the reason. */
  | "unsuitable";

/**
 * A cloud provider, or the way to it, has refused something. The message names the call and what it
 * was about, and holds no secret.
 */
export class ProviderError extends Error {
  override readonly name = "ProviderError";
  readonly kind: ProviderErrorKind;

  constructor(kind: ProviderErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }

  /** True when the same call may succeed later without anybody's doing. */
  get isPassing(): boolean {
    return this.kind === "throttled" || this.kind === "unavailable";
  }
}
