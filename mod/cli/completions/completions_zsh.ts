import type { CompletedFlag, CompletionTable, Place, Values } from "./completion_table.ts";

/** The script for zsh, to stand in a file `_flanneld` of a directory of `$fpath`. */
export function zshCompletions({ agentFlags, places }: CompletionTable): string {
  const deep = places.filter(({ path }) => path.includes(" "));
  return `#compdef flanneld
# Completion of flanneld for zsh; printed by: flanneld completions zsh

_flanneld() {
  local context state state_descr line place= depth=0 curcontext=$curcontext
  typeset -A opt_args
  local -a agent own words_here
  agent=(
${agentFlags.map(argument).join("")}  )
  if (( CURRENT > 2 )) && [[ $words[2] != -* ]]; then
    place=$words[2] depth=1
    case "$words[2] $words[3]" in
      ${
    deep.map(({ path }) => `'${path}'`).join("|")
  }) (( CURRENT > 3 )) && place="$words[2] $words[3]" depth=2 ;;
    esac
  fi
  case $place in
${places.map(place).join("")}  esac
  if [[ $words[CURRENT] != -* ]] && (( $#words_here && CURRENT == 2 + depth )); then
    _describe -t commands 'what to do' words_here
    return
  fi
  # What is left is what _arguments counts from.
  shift $depth words
  (( CURRENT -= depth ))
  _arguments -S $own
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _flanneld "$@"; else compdef _flanneld flanneld; fi
`;
}

function place({ path, words, operands, flags, takesAgentFlags }: Place): string {
  const specs = [
    ...flags.map(argument),
    ...(operands === undefined ? [] : [`      '*:operand:${action(operands)}'\n`]),
  ].join("");
  const described = words.map(({ name, summary }) => `      ${quoted(`${name}:${summary}`)}\n`);
  return `    '${path}')\n` +
    (described.length === 0 ? "" : `      words_here=(\n${described.join("")}      )\n`) +
    `      own=(${takesAgentFlags ? " $agent" : ""}\n${specs}      ) ;;\n`;
}

function argument({ name, help, values, repeatable }: CompletedFlag): string {
  const text = help.replaceAll(/[[\]:\\]/g, "\\$&");
  const value = values === undefined ? "" : `:${name}:${action(values)}`;
  // A single letter takes its value as the next word; completion does not offer Go's form -f=x.
  const equals = values === undefined ? "" : name.length === 1 ? "" : "=";
  return `      ${quoted(`${repeatable ? "*" : ""}-${name}${equals}[${text}]${value}`)}\n`;
}

function action(values: Values): string {
  switch (values.type) {
    case "words":
      return `(${values.words.join(" ")})`;
    case "file":
      return "_files";
    case "directory":
      return "_files -/";
    case "interface":
      return "_net_interfaces";
    case "other":
      return " ";
  }
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
