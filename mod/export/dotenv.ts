/**
 * Files of shell variables: subnet.env, as flannel, its CNI plugin and operators write it.
 *
 * @module
 */

const ASSIGNMENT = /^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=/;

/**
 * Parses `NAME=value` lines. Handles `export`, quotes, backslashes and comments like a shell, but does not
 * expand `$`. Skips other lines. The last line of a name wins.
 */
export function parseDotenv(text: string): Map<string, string> {
  const variables = new Map<string, string>();
  let rest = text.replaceAll("\r\n", "\n");
  while (rest !== "") {
    const assignment = ASSIGNMENT.exec(rest);
    if (assignment === null) {
      rest = afterLine(rest);
      continue;
    }
    const [value, length] = parseWord(rest.slice(assignment[0].length));
    variables.set(assignment[1]!, value);
    rest = afterLine(rest.slice(assignment[0].length + length));
  }
  return variables;
}

/** Parses one shell word at the start of a text; returns its value and its length in the text. */
function parseWord(text: string): [value: string, length: number] {
  let value = "";
  let quote = "";
  let at = 0;
  for (; at < text.length; at++) {
    const character = text[at]!;
    if (character === "\\" && quote !== "'") {
      const next = text[++at] ?? "";
      // In double quotes a backslash before any other character is literal (POSIX 2.2.3).
      const escapes = quote === "" || '"\\$`\n'.includes(next);
      value += (escapes ? "" : "\\") + (next === "\n" ? "" : next);
    } else if (quote !== "") {
      if (character === quote) quote = "";
      else value += character;
    } else if (character === '"' || character === "'") {
      quote = character;
    } else if (" \t\n;&|".includes(character)) {
      break;
    } else {
      value += character;
    }
  }
  return [value, Math.min(at, text.length)];
}

function afterLine(text: string): string {
  const end = text.indexOf("\n");
  return end < 0 ? "" : text.slice(end + 1);
}

/** Writes a value between double quotes, as shells and systemd's EnvironmentFile= read it back. */
export function doubleQuote(value: string): string {
  return `"${value.replaceAll(/["\\$`]/g, "\\$&")}"`;
}
