/** A block of shell commands in a document. */
export interface ShellBlock {
  /** The heading that it is under. */
  readonly heading: string;
  /** The commands, without the indentation of a list. */
  readonly text: string;
  /** False when its first line marks it as not run. */
  readonly isRun: boolean;
  /** Line of the fence, from 1. */
  readonly line: number;
}

/** A call of a test that reads the blocks under a heading, to run them. */
export interface BlockReader {
  readonly path: string;
  readonly heading: string;
  /** How many blocks it runs. */
  readonly count: number;
}

/** The first line of a block that no test runs: `# on host100, not run by the test: needs a network`. */
const NOT_RUN = /^# (?:.*, )?not run by the test(?:: .+)?$/m;

/** A call of `blocks()` of tests/e2e/pages.ts. */
const READER = /\bblocks\(\s*"([^"]+)",\s*"([^"]+)",\s*(\d+),?\s*\)/g;

/** A call of `hostBlocks()` of tests/e2e/pages.ts, which reads all blocks of a page. */
const PAGE_READER = /\bhostBlocks\("([^"]+)"\)/g;

/** Languages of fenced blocks; of these only `sh` has commands. */
const LANGUAGES = new Set(["sh", "text", "json", "yaml", "ini", "hcl", "mermaid"]);

interface Fence {
  readonly language: string;
  readonly heading: string;
  readonly line: number;
  readonly lines: string[];
}

/** Finds the blocks of shell of a document. */
export function shellBlocks(text: string): ShellBlock[] {
  return fences(text).filter(({ language }) => language === "sh").map(
    ({ heading, line, lines }) => ({
      heading,
      line,
      text: lines.map((content) => `${content}\n`).join(""),
      isRun: !NOT_RUN.test(lines[0] ?? ""),
    }),
  );
}

/** Finds the readers of blocks in the source of a test. */
export function blockReaders(source: string): BlockReader[] {
  return [...source.matchAll(READER)].map(([, path, heading, count]) => ({
    path: path!,
    heading: heading!,
    count: Number(count),
  }));
}

/** Finds the pages whose blocks a test reads, all of them. */
export function pageReaders(source: string): string[] {
  return [...source.matchAll(PAGE_READER)].map(([, path]) => path!);
}

/**
 * Finds blocks that are neither run by a test nor marked, and blocks whose language hides that.
 *
 * @param path relative to the project's root
 * @param sources of the tests
 * @returns one line each
 */
export function blockProblems(path: string, text: string, sources: Iterable<string>): string[] {
  const problems = fences(text).filter(({ language }) => !LANGUAGES.has(language)).map(
    ({ language, line }) =>
      `line ${line}: a block of "${language}"; write one of ${[...LANGUAGES].join(", ")}`,
  );
  const readers: BlockReader[] = [];
  for (const source of sources) {
    if (pageReaders(source).includes(path)) return problems;
    readers.push(...blockReaders(source).filter((reader) => reader.path === path));
  }
  const sections = Map.groupBy(
    shellBlocks(text).filter(({ isRun }) => isRun),
    ({ heading }) => heading,
  );
  for (const [heading, { length, [0]: first }] of sections) {
    const counts = readers.filter((reader) => reader.heading === heading)
      .map(({ count }) => count);
    if (counts.length > 0 && counts.every((count) => count === length)) continue;
    problems.push(
      `line ${first!.line}: "${heading}" has ${length} blocks to run, and tests run ` +
        `${counts.length === 0 ? "none" : counts.join(" and ")} of them: read them by ` +
        `blocks() of tests/e2e/pages.ts, or begin a block with "# not run by the test: REASON"`,
    );
  }
  return problems;
}

function fences(text: string): Fence[] {
  const found: Fence[] = [];
  let heading = "";
  let open: Fence & { readonly indent: number } | undefined;
  for (const [i, content] of text.split("\n").entries()) {
    const [, indent, language] = /^( *)```(.*)$/.exec(content) ?? [];
    if (open !== undefined) {
      if (language === "") open = undefined;
      else open.lines.push(content.slice(open.indent));
    } else if (indent !== undefined) {
      open = { language: language!, heading, line: i + 1, lines: [], indent: indent.length };
      found.push(open);
    } else {
      heading = /^#+ (.*)$/.exec(content)?.[1] ?? heading;
    }
  }
  return found;
}
