/** Names of keys with secrets in backends such as flannel's ipsec, wireguard and clouds. */
const SECRET = /psk|secret|passw|access.?key|private.?key|api.?key|token|credential/i;

/** Placeholder of a secret wherever a config is shown. */
export const HIDDEN = "(not shown)";

/** The user's password in a URL, RFC 3986, 3.2.1; up to the last `@` before the path. */
const URL_PASSWORD = /([a-z][a-z0-9+.-]{0,31}:\/\/[^\s/:@]*):[^\s/]*@/gi;

/** Returns whether messages must not show the value of a key. */
export function isSecretKey(key: string): boolean {
  return SECRET.test(key);
}

/** Replaces the passwords of URLs in a text. */
export function hideUrlPasswords(text: string): string {
  return text.includes("://") ? text.replace(URL_PASSWORD, `$1:${HIDDEN}@`) : text;
}

/**
 * Returns the text of a config, or of a part of one, without its secrets, for logs and the status. Returns a
 * text without secrets unchanged.
 */
export function hideSecrets(text: string): string {
  try {
    let isHidden = false;
    const shown = JSON.stringify(JSON.parse(text), (key, value) => {
      const safe = isSecretKey(key)
        ? HIDDEN
        : typeof value === "string"
        ? hideUrlPasswords(value)
        : value;
      isHidden ||= safe !== value;
      return safe;
    });
    return isHidden ? shown : text;
  } catch {
    // It may be a malformed config, in which secrets cannot be found. Too deep a nesting throws as well.
    return text.trim() === "" ? text : `(${text.length} characters that are no JSON)`;
  }
}
