/** A message cannot be decoded. The text says why, in Go's words where Go has any. */
export class WireError extends Error {
  override readonly name = "WireError";
}
