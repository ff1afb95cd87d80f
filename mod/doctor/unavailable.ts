/** Something that a check needs is not there. The message is a reason: "the store is not reached". */
export class Unavailable extends Error {
  override readonly name = "Unavailable";
}
