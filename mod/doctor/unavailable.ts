/** Something that a check needs is missing. The message is the reason: "the store is not reached". */
export class Unavailable extends Error {
  override readonly name = "Unavailable";
}
