/**
 * Shortens a text of other origin for a message. The log shortens whole values by itself (`mod/observe/log/shorten.ts`),
 * in bytes and with their size.
 *
 * @param most characters of the result, of which the last three are dots when some were left out
 */
export function truncate(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most - 3)}...` : text;
}
