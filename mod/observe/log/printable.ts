/**
 * Escapes control characters in texts of other origin (values of the store, output of commands, messages of the
 * kernel). The log, systemd's status and the output of all subcommands pass their texts through it.
 *
 * @module
 */

/**
 * Control characters (C0, DEL and C1, ECMA-48), characters that reorder a line (Unicode TR 36, 2.7), and line
 * ends.
 */
const CONTROL = /[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/gu;

/** One line of a text: `\n` for a line feed, `\x1b` for an escape character, `\u202e` for an override. */
export function printable(text: string): string {
  return text.replace(CONTROL, (character) => {
    if (character === "\n") return "\\n";
    const code = character.charCodeAt(0);
    return code < 0x100 ? `\\x${hex(code, 2)}` : `\\u${hex(code, 4)}`;
  });
}

/**
 * JSON with the same value and none of these characters: inside of strings `\u009b` stands for them.
 * Line feeds and tabs stay, and so does a carriage return before a line feed.
 */
export function printableJson(json: string): string {
  return json.replace(CONTROL, (character, offset: number) => {
    if (character === "\n" || character === "\t") return character;
    // White space between tokens: inside of a string JSON has it escaped.
    if (character === "\r") return json[offset + 1] === "\n" ? character : "\n";
    return `\\u${hex(character.charCodeAt(0), 4)}`;
  });
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, "0");
}
