/**
 * No interface of this host can be used as it was asked for. The message holds flannel's words,
 * the reason, and what the host has instead.
 */
export class InterfaceError extends Error {
  override readonly name = "InterfaceError";
}
