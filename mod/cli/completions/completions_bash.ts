import type { CompletedFlag, CompletionTable, Place, Values } from "./completion_table.ts";

/** The script for bash 4.2 and newer, with or without the bash-completion package. */
export function bashCompletions({ agentFlags, places }: CompletionTable): string {
  const paths = places.filter(({ path }) => path !== "").map(({ path }) => `'${path}'`).join("|");
  return `# Completion of flanneld for bash; printed by: flanneld completions bash

_flanneld_agent_flags='${names(agentFlags)}'

# Words, flags and operands at a place: "", "plan", "config set".
_flanneld_place() {
  words= flags= operands=
  case $1 in
${places.map(place).join("")}  esac
}

# The values of a flag: words, or a kind in capital letters.
_flanneld_values() {
  case $1:$2 in
${places.flatMap(({ path, flags }) => flags.map((flag) => values(`'${path}':`, flag))).join("")}${
    agentFlags.map((flag) => values("*:", flag)).join("")
  }  esac
}

_flanneld_reply() {
  case $1 in
    FILE) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$2") ;;
    DIRECTORY) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$2") ;;
    INTERFACE) mapfile -t COMPREPLY < <(compgen -W "$(command ls /sys/class/net)" -- "$2") ;;
    OTHER) COMPREPLY=() ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2") ;;
  esac
}

_flanneld() {
  local cur=\${COMP_WORDS[COMP_CWORD]} flag= path= words flags operands dashes
  COMPREPLY=()
  # bash cuts -flag=value into three words.
  if [[ $cur == = && \${COMP_WORDS[COMP_CWORD-1]} == -* ]]; then
    flag=\${COMP_WORDS[COMP_CWORD-1]} cur=
  elif [[ \${COMP_WORDS[COMP_CWORD-1]} == = ]]; then
    flag=\${COMP_WORDS[COMP_CWORD-2]}
  elif [[ \${COMP_WORDS[COMP_CWORD-1]} == -* ]]; then
    flag=\${COMP_WORDS[COMP_CWORD-1]}
  fi
  if (( COMP_CWORD > 1 )); then
    case "\${COMP_WORDS[1]} \${COMP_WORDS[2]}" in
      ${
    places.filter(({ path }) => path.includes(" ")).map(({ path }) => `'${path}'`).join("|")
  }) (( COMP_CWORD > 2 )) && path="\${COMP_WORDS[1]} \${COMP_WORDS[2]}" ;;
    esac
    [[ -z $path ]] && case \${COMP_WORDS[1]} in ${paths}) path=\${COMP_WORDS[1]} ;; esac
  fi
  _flanneld_place "$path"
  if [[ -n $flag ]]; then
    flag=\${flag#-} flag=\${flag#-}
    local value=$(_flanneld_values "$path" "$flag")
    if [[ -n $value ]]; then
      _flanneld_reply "$value" "$cur"
      return
    fi
  fi
  if [[ $cur == -* ]]; then
    dashes=-
    [[ $cur == --* ]] && dashes=--
    mapfile -t COMPREPLY < <(compgen -P "$dashes" -W "$flags" -- "\${cur#$dashes}")
  elif [[ -n $operands ]]; then
    _flanneld_reply "$operands" "$cur"
  elif (( COMP_CWORD == 1 )) || [[ $path == "\${COMP_WORDS[1]}" && $COMP_CWORD == 2 ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
  fi
}

complete -F _flanneld flanneld
`;
}

function names(flags: readonly CompletedFlag[]): string {
  return flags.map(({ name }) => name).join(" ");
}

function place({ path, words, operands, flags, takesAgentFlags }: Place): string {
  const own = names(flags);
  const all = takesAgentFlags ? `"${own} $_flanneld_agent_flags"` : `'${own}'`;
  return `    '${path}') words='${words.map(({ name }) => name).join(" ")}' flags=${all} ` +
    `operands='${operands === undefined ? "" : kind(operands)}' ;;\n`;
}

function values(path: string, { name, values }: CompletedFlag): string {
  return values === undefined ? "" : `    ${path}${name}) echo '${kind(values)}' ;;\n`;
}

function kind(values: Values): string {
  return values.type === "words" ? values.words.join(" ") : values.type.toUpperCase();
}
