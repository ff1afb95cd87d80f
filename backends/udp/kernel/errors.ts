/** The kernel path cannot be used here; the message says why. */
export class UnsuitableError extends Error {
  override readonly name = "UnsuitableError";
}
