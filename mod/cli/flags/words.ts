/**
 * Splits a text into words as systemd does with `$FLANNEL_OPTIONS` on an ExecStart line: at white space; single and
 * double quotes keep words together and are removed; a backslash keeps the next character (systemd.service(5),
 * "Command lines"; `extract_first_word()` with EXTRACT_UNQUOTE and EXTRACT_RELAX). An open quote ends with the text.
 *
 * @example
 * ```ts
 * import { splitWords } from "./words.ts";
 * console.assert(splitWords(` -iface=eth1  -v "2"`).length === 3);
 * ```
 */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = "";
  for (let i = 0; i < text.length; i++) {
    const character = text[i]!;
    if (character === "\\") {
      word = (word ?? "") + (text[++i] ?? "");
    } else if (quote !== "") {
      if (character === quote) quote = "";
      else word += character;
    } else if (character === '"' || character === "'") {
      quote = character;
      word ??= "";
    } else if (" \t\n\r".includes(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? "") + character;
    }
  }
  if (word !== undefined) words.push(word);
  return words;
}
