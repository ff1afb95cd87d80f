/** A message cannot be decoded. The message has the reason, in Go's words where Go has any. */
export class WireError extends Error {
  override readonly name = "WireError";
}
