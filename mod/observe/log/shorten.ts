/** Bytes of a value of other origin in a line that quotes it. */
const VALUE_BYTES = 200;

const encoder = new TextEncoder();

/**
 * Shortens a value to its first bytes in UTF-8, with its full size.
 *
 * @param most bytes that are kept. @default 200
 */
export function shorten(value: string, most = VALUE_BYTES): string {
  // A code unit has at most three bytes in UTF-8.
  if (value.length * 3 <= most) return value;
  const { read } = encoder.encodeInto(value, new Uint8Array(most));
  if (read === value.length) return value;
  return `${value.slice(0, read)}... (${encoder.encode(value).length} bytes)`;
}
