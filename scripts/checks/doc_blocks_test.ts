import { assertEquals } from "@std/assert";
import { blockProblems, shellBlocks } from "./doc_blocks.ts";

const PAGE = `# Title

\`\`\`sh
# once
first
\`\`\`

## Steps

1. List:

   \`\`\`sh
   second \\
     more
   \`\`\`

\`\`\`sh
# on host100, not run by the test
third
\`\`\`

\`\`\`text
# Output
\`\`\`

\`\`\`sh
fourth
\`\`\`
`;

Deno.test("shellBlocks() finds heading, text and mark of each block of shell", () => {
  assertEquals(shellBlocks(PAGE), [
    { heading: "Title", line: 3, text: "# once\nfirst\n", isRun: true },
    { heading: "Steps", line: 12, text: "second \\\n  more\n", isRun: true },
    {
      heading: "Steps",
      line: 17,
      text: "# on host100, not run by the test\nthird\n",
      isRun: false,
    },
    { heading: "Steps", line: 26, text: "fourth\n", isRun: true },
  ]);
});

const TITLE = 'await blocks("docs/a.md", "Title", 1)';
const STEPS = 'await blocks(\n  "docs/a.md",\n  "Steps",\n  2,\n)';

Deno.test("blockProblems() finds nothing where every block is run or marked", () => {
  assertEquals(blockProblems("docs/a.md", PAGE, [TITLE, STEPS]), []);
  assertEquals(blockProblems("docs/a.md", PAGE, ['hostBlocks("docs/a.md")']), []);
});

Deno.test("blockProblems() names the heading of a block that is neither run nor marked", () => {
  const starts = (text: string, ...sources: string[]) =>
    blockProblems("docs/a.md", text, sources).map((problem) => problem.split(":", 2).join(":"));
  assertEquals(starts(PAGE, TITLE), [
    'line 12: "Steps" has 2 blocks to run, and tests run none of them',
  ]);
  const more = `${PAGE}\n\`\`\`sh\nfifth\n\`\`\`\n`;
  assertEquals(starts(more, TITLE, STEPS), [
    'line 12: "Steps" has 3 blocks to run, and tests run 2 of them',
  ]);
  const marked = `${PAGE}\n\`\`\`sh\n# not run by the test: needs AWS\nfifth\n\`\`\`\n`;
  assertEquals(starts(marked, TITLE, STEPS), []);
  // The words count in the first line alone.
  const late = `${PAGE}\n\`\`\`sh\nfifth\n# not run by the test\n\`\`\`\n`;
  assertEquals(starts(late, TITLE, STEPS).length, 1);
  assertEquals(starts(PAGE, TITLE, STEPS.replace("a.md", "b.md")).length, 1);
});

Deno.test("blockProblems() refuses a block whose language may hide commands", () => {
  for (const language of ["", "bash", "console"]) {
    const page = `\`\`\`${language}\nfirst\n\`\`\`\n`;
    assertEquals(blockProblems("docs/a.md", page, []), [
      `line 1: a block of "${language}"; write one of sh, text, json, yaml, ini, hcl, mermaid`,
    ]);
  }
});
