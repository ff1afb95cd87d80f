/**
 * A value an operator wrote that cannot be used. The message names the key, the value and what
 * would be right, and is all that is shown.
 */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}
