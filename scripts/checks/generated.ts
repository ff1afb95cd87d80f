/**
 * Parts of documents that `deno task docs:write` writes, between two marks.
 *
 * @module
 */

const BEGIN = "<!-- begin: written by deno task docs:write -->\n";
const END = "<!-- end: written by deno task docs:write -->\n";

/**
 * Puts a section in the place of the generated part.
 *
 * @throws {Error} when the document does not mark where that is
 */
export function replaceSection(document: string, section: string): string {
  const begin = document.indexOf(BEGIN);
  const end = document.indexOf(END);
  if (begin < 0 || end < begin) {
    throw new Error(`the document has no lines ${BEGIN.trim()} and ${END.trim()}`);
  }
  return `${document.slice(0, begin)}${BEGIN}\n${section}\n${document.slice(end)}`;
}

/** Writes a table as `deno fmt` leaves it; the first row is its head. */
export function markdownTable(rows: readonly (readonly string[])[]): string {
  const escaped = rows.map((row) => row.map((cell) => cell.replaceAll("|", "\\|")));
  const widths = escaped[0]!.map((_, column) =>
    Math.max(...escaped.map((row) => row[column]!.length))
  );
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column]!)).join(" | ")} |\n`;
  const [head, ...body] = escaped;
  return line(head!) + line(widths.map((width) => "-".repeat(width))) + body.map(line).join("");
}
