import type { CompletedFlag, CompletionTable, Place, Values } from "./completion_table.ts";

/** The script for fish 3 and newer. */
export function fishCompletions({ agentFlags, places }: CompletionTable): string {
  const withAgentFlags = places.filter(({ takesAgentFlags }) => takesAgentFlags)
    .map(({ path }) => `"${path}"`).join(" ");
  return `# Completion of flanneld for fish; printed by: flanneld completions fish

# Where on the command line: "", "plan", "config set".
function __flanneld_path
    set -l words (commandline -opc)
    set -e words[1]
    switch "$words[1] $words[2]"
${
    places.filter(({ path }) => path.includes(" ")).map(({ path }) =>
      `        case "${path}"\n            echo "${path}"\n            return\n`
    ).join("")
  }    end
    switch "$words[1]"
        case '-*'
            echo ""
        case '*'
            echo "$words[1]"
    end
end

function __flanneld_at
    test (__flanneld_path) = "$argv[1]"
end

# Before the next word of the place: a subcommand, or its verb.
function __flanneld_word_at
    set -l words (commandline -opc)
    __flanneld_at "$argv[1]"; and test (count $words) -eq $argv[2]
end

function __flanneld_takes_agent_flags
    contains -- (__flanneld_path) ${withAgentFlags}
end

complete -c flanneld -f
${places.map(wordsOf).join("")}${
    agentFlags.map((f) => flag("__flanneld_takes_agent_flags", f)).join("")
  }${
    places.flatMap(({ path, flags }) => flags.map((f) => flag(`__flanneld_at '${path}'`, f)))
      .join("")
  }${places.map(operandsOf).join("")}`;
}

function wordsOf({ path, words }: Place): string {
  const at = path === "" ? 1 : path.split(" ").length + 1;
  return words.map(({ name, summary }) =>
    `complete -c flanneld -n "__flanneld_word_at '${path}' ${at}" -a ${name} -d ${
      quoted(summary)
    }\n`
  ).join("");
}

function operandsOf({ path, operands }: Place): string {
  if (operands === undefined) return "";
  return `complete -c flanneld -n "__flanneld_at '${path}'" ${argument(operands)}\n`;
}

function flag(condition: string, { name, help, values }: CompletedFlag): string {
  const option = name.length === 1 ? `-s ${name}` : `-o ${name}`;
  const value = values === undefined ? "" : ` -r ${argument(values)}`;
  return `complete -c flanneld -n "${condition}" ${option}${value} -d ${quoted(help)}\n`;
}

function argument(values: Values): string {
  switch (values.type) {
    case "words":
      return `-f -a '${values.words.join(" ")}'`;
    case "file":
      return "-F";
    case "directory":
      return "-f -a '(__fish_complete_directories)'";
    case "interface":
      return "-f -a '(command ls /sys/class/net)'";
    case "other":
      return "-f";
  }
}

function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
