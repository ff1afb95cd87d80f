/**
 * No interface of this host matches the options. The message has flannel's text, the reason, and the interfaces
 * of the host.
 */
export class InterfaceError extends Error {
  override readonly name = "InterfaceError";
}
