/** The host cannot run the kernel path; the message gives the reason. */
export class UnsuitableError extends Error {
  override readonly name = "UnsuitableError";
}
