/**
 * Files of shell variables: subnet.env, as flannel, its CNI plugin and operators write it.
 *
 * @module
 */

const ASSIGNMENT = /^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=/;

/**
 * Reads `NAME=value` lines. `export` before a name, quotes, backslashes and comments are
 * understood as a shell would; `$` is not: nothing is expanded. Lines of another form are skipped,
 * and of two for one name the last counts.
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

/** One word of a shell at the start of a text: its value, and how many characters it takes. */
function parseWord(text: string): [value: string, length: number] {
  let value = "";
  let quote = "";
  let at = 0;
  for (; at < text.length; at++) {
    const character = text[at]!;
    if (character === "\\" && quote !== "'") {
      const next = text[++at] ?? "";
      // Inside double quotes a backslash is itself before any other character (POSIX 2.2.3).
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
