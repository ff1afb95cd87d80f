/**
 * Regular expressions of flannel's flags: translates Go's RE2 syntax (https://github.com/google/re2/wiki/Syntax) to
 * JavaScript's.
 *
 * @module
 */

/** Classes that stand inside brackets, `[[:alpha:]]`. */
const POSIX_CLASSES: Readonly<Record<string, string | undefined>> = {
  alnum: "0-9A-Za-z",
  alpha: "A-Za-z",
  ascii: "\\x00-\\x7f",
  blank: "\\t ",
  cntrl: "\\x00-\\x1f\\x7f",
  digit: "0-9",
  graph: "!-~",
  lower: "a-z",
  print: " -~",
  punct: "!-\\/:-@\\[-`\\{-~",
  space: "\\t\\n\\v\\f\\r ",
  upper: "A-Z",
  word: "0-9A-Za-z_",
  xdigit: "0-9A-Fa-f",
};

/** Escapes with the same meaning in both. */
const SHARED_ESCAPE = /^\\(?:[dDsSwWbBfnrtv]|x[0-9a-fA-F]{2}|p\{[^}]*\}|P\{[^}]*\})/;

/**
 * Compiles an expression of Go's syntax.
 *
 * Unlike JavaScript's: flags stand in front, `(?i)`; names are `(?P<name>...)`; `\A`, `\z`,
 * `\Q...\E` and `[[:digit:]]` are known, look-around and back-references are not.
 *
 * @throws {SyntaxError} when it is not one; the message is the reason alone
 */
export function compileGoRegExp(text: string): RegExp {
  const flags = /^\(\?([ims]+)\)/.exec(text);
  const translator = new Translator(text, flags?.[0].length ?? 0);
  const source = translator.run();
  try {
    return new RegExp(source, "u" + [...new Set(flags?.[1])].join(""));
  } catch (cause) {
    // V8 quotes the translated text, which the operator never wrote; the reason stands at the end.
    const reason = (cause as Error).message.replace(/^.*: /s, "");
    throw new SyntaxError(reason[0]!.toLowerCase() + reason.slice(1), { cause });
  }
}

class Translator {
  readonly #text: string;
  #at: number;

  constructor(text: string, start: number) {
    this.#text = text;
    this.#at = start;
  }

  run(): string {
    let source = "";
    while (this.#at < this.#text.length) source += this.#next();
    return source;
  }

  get #rest(): string {
    return this.#text.slice(this.#at);
  }

  #take(length: number): string {
    const taken = this.#text.slice(this.#at, this.#at + length);
    this.#at += length;
    return taken;
  }

  #next(): string {
    const rest = this.#rest;
    switch (rest[0]) {
      case "\\":
        return this.#escape();
      case "[":
        return this.#brackets();
      case "(": {
        if (!rest.startsWith("(?")) return this.#take(1);
        const group = /^\(\?(?:P?<[A-Za-z_]\w*>|(?:[ims]*(?:-[ims]+)?):)/.exec(rest);
        if (group === null) {
          throw new SyntaxError(`"${rest.slice(0, 4)}" is not known in Go's regular expressions`);
        }
        return this.#take(group[0].length).replace("(?P<", "(?<");
      }
      case "{": {
        const repeat = /^\{\d+(?:,\d*)?\}/.exec(rest);
        if (repeat !== null) return this.#take(repeat[0].length);
        this.#take(1);
        return "\\{";
      }
      case "}":
      case "]":
        return "\\" + this.#take(1);
      default:
        return this.#take(String.fromCodePoint(rest.codePointAt(0)!).length);
    }
  }

  #escape(): string {
    const rest = this.#rest;
    const shared = SHARED_ESCAPE.exec(rest);
    if (shared !== null) return this.#take(shared[0].length);
    const wide = /^\\x\{([0-9a-fA-F]+)\}/.exec(rest);
    if (wide !== null) {
      this.#take(wide[0].length);
      return `\\u{${wide[1]}}`;
    }
    const octal = /^\\(0[0-7]{0,2}|[1-7][0-7]{1,2})/.exec(rest);
    if (octal !== null) {
      this.#take(octal[0].length);
      return literal(String.fromCharCode(parseInt(octal[1]!, 8)));
    }
    const category = /^\\([pP])([A-Z])/.exec(rest);
    if (category !== null) {
      this.#take(category[0].length);
      return `\\${category[1]}{${category[2]}}`;
    }
    const character = rest[1] ?? "";
    this.#take(2);
    switch (character) {
      case "A":
        return "(?<![^])";
      case "z":
        return "(?![^])";
      case "a":
        return "\\x07";
      case "Q": {
        const end = this.#text.indexOf("\\E", this.#at);
        const quoted = this.#text.slice(this.#at, end < 0 ? undefined : end);
        this.#at = end < 0 ? this.#text.length : end + 2;
        return [...quoted].map(literal).join("");
      }
    }
    if (character === "") throw new SyntaxError("it ends with a backslash");
    if (character > "\x7f" || /[0-9A-Za-z]/.test(character)) {
      throw new SyntaxError(`"\\${character}" is not known in Go's regular expressions`);
    }
    return literal(character);
  }

  /** A class. Its first character is never its end, and `[` inside it is itself. */
  #brackets(): string {
    let source = this.#take(this.#rest.startsWith("[^") ? 2 : 1);
    for (let first = true; this.#at < this.#text.length; first = false) {
      const rest = this.#rest;
      if (rest[0] === "]" && !first) return source + this.#take(1);
      const posix = /^\[:(\^?)(\w*):\]/.exec(rest);
      if (posix !== null) {
        const members = POSIX_CLASSES[posix[2]!];
        if (members === undefined || posix[1] === "^") {
          throw new SyntaxError(`"${posix[0]}" is not a class`);
        }
        this.#take(posix[0].length);
        source += members;
      } else if (rest[0] === "\\") {
        source += /^\\[AzQbB]/.test(rest) ? invalidInClass(rest) : this.#escape();
      } else if (rest[0] === "]" || rest[0] === "[") {
        source += "\\" + this.#take(1);
      } else {
        source += this.#take(String.fromCodePoint(rest.codePointAt(0)!).length);
      }
    }
    throw new SyntaxError('a "[" has no "]"');
  }
}

function invalidInClass(rest: string): never {
  throw new SyntaxError(`"${rest.slice(0, 2)}" cannot stand between brackets`);
}

/** A character that means itself, wherever it stands. */
function literal(character: string): string {
  return /[0-9A-Za-z_]/.test(character)
    ? character
    : `\\u{${character.codePointAt(0)!.toString(16)}}`;
}
