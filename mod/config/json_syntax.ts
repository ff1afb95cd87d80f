/**
 * A JSON parser that keeps information which `JSON.parse` drops and Go's decoder uses: the order of members,
 * duplicates, and the spelling of numbers. Its messages are those of Go's
 * `encoding/json`, which flannel's operators know and search for.
 *
 * @module
 */

/** A parsed value with its spelling. */
export type JsonNode =
  | { readonly kind: "object"; readonly members: readonly (readonly [string, JsonNode])[] }
  | { readonly kind: "array"; readonly elements: readonly JsonNode[] }
  | { readonly kind: "string"; readonly value: string }
  | { readonly kind: "number"; readonly text: string }
  | { readonly kind: "bool"; readonly value: boolean }
  | { readonly kind: "null" };

/** A text that is not JSON. The message is Go's. */
export class JsonSyntaxError extends Error {
  override readonly name = "JsonSyntaxError";

  /**
   * @param message message of Go's scanner
   * @param offset index into the text of the offending character; its length at an early end
   * @param keys keys of the members that the offset lies in, outermost first
   */
  constructor(message: string, readonly offset: number, readonly keys: readonly string[]) {
    super(message);
  }
}

/** Limit of nesting; Go's is 10,000. No configuration is as deep as this. */
const MAX_DEPTH = 1000;

/**
 * Reads one JSON text (RFC 8259).
 *
 * @throws {JsonSyntaxError} when it is not one
 */
export function parseJson(text: string): JsonNode {
  return new Reader(text).document();
}

class Reader {
  readonly #text: string;
  #at = 0;
  #depth = 0;
  readonly #keys: string[] = [];

  constructor(text: string) {
    this.#text = text;
  }

  document(): JsonNode {
    const value = this.#value();
    this.#space();
    if (this.#at < this.#text.length) throw this.#unexpected("after top-level value");
    return value;
  }

  #value(): JsonNode {
    this.#space();
    const char = this.#text[this.#at];
    switch (char) {
      case "{":
        return this.#nested(() => this.#object());
      case "[":
        return this.#nested(() => this.#array());
      case '"':
        return { kind: "string", value: this.#string() };
      case "t":
        return this.#literal("true", { kind: "bool", value: true });
      case "f":
        return this.#literal("false", { kind: "bool", value: false });
      case "n":
        return this.#literal("null", { kind: "null" });
    }
    if (char === "-" || isDigit(char)) return this.#number();
    throw this.#unexpected("looking for beginning of value");
  }

  #nested(read: () => JsonNode): JsonNode {
    if (++this.#depth > MAX_DEPTH) throw this.#error("exceeded max depth");
    this.#at++;
    const node = read();
    this.#depth--;
    return node;
  }

  #object(): JsonNode {
    const members: [string, JsonNode][] = [];
    this.#space();
    if (this.#take("}")) return { kind: "object", members };
    while (true) {
      this.#space();
      if (this.#text[this.#at] !== '"') {
        throw this.#unexpected("looking for beginning of object key string");
      }
      const key = this.#string();
      this.#space();
      if (!this.#take(":")) throw this.#unexpected("after object key");
      this.#keys.push(key);
      members.push([key, this.#value()]);
      this.#space();
      const more = this.#take(",");
      if (!more && !this.#take("}")) throw this.#unexpected("after object key:value pair");
      this.#keys.pop();
      if (!more) return { kind: "object", members };
    }
  }

  #array(): JsonNode {
    const elements: JsonNode[] = [];
    this.#space();
    if (this.#take("]")) return { kind: "array", elements };
    while (true) {
      elements.push(this.#value());
      this.#space();
      if (this.#take("]")) return { kind: "array", elements };
      if (!this.#take(",")) throw this.#unexpected("after array element");
    }
  }

  #string(): string {
    const start = this.#at++;
    while (true) {
      const char = this.#text[this.#at];
      if (char === undefined || char < " ") throw this.#unexpected("in string literal");
      this.#at++;
      if (char === '"') break;
      if (char === "\\") this.#escape();
    }
    // Go replaces what is no character by U+FFFD.
    return (JSON.parse(this.#text.slice(start, this.#at)) as string).toWellFormed();
  }

  #escape(): void {
    const char = this.#text[this.#at];
    if (char === undefined || !'"\\/bfnrtu'.includes(char)) {
      throw this.#unexpected("in string escape code");
    }
    this.#at++;
    if (char !== "u") return;
    for (let i = 0; i < 4; i++) {
      if (!/^[0-9a-fA-F]$/.test(this.#text[this.#at] ?? "")) {
        throw this.#unexpected("in \\u hexadecimal character escape");
      }
      this.#at++;
    }
  }

  #literal(word: string, node: JsonNode): JsonNode {
    for (const expected of word) {
      if (!this.#take(expected)) {
        throw this.#unexpected(`in literal ${word} (expecting '${expected}')`);
      }
    }
    return node;
  }

  #number(): JsonNode {
    const start = this.#at;
    this.#take("-");
    if (!this.#take("0")) this.#digits("in numeric literal");
    if (this.#take(".")) this.#digits("after decimal point in numeric literal");
    if (this.#take("e") || this.#take("E")) {
      if (!this.#take("+")) this.#take("-");
      this.#digits("in exponent of numeric literal");
    }
    return { kind: "number", text: this.#text.slice(start, this.#at) };
  }

  #digits(where: string): void {
    if (!isDigit(this.#text[this.#at])) throw this.#unexpected(where);
    while (isDigit(this.#text[this.#at])) this.#at++;
  }

  #take(char: string): boolean {
    if (this.#text[this.#at] !== char) return false;
    this.#at++;
    return true;
  }

  #space(): void {
    while (/^[ \t\r\n]$/.test(this.#text[this.#at] ?? "")) this.#at++;
  }

  #unexpected(where: string): JsonSyntaxError {
    const code = this.#text.codePointAt(this.#at);
    if (code === undefined) return this.#error("unexpected end of JSON input");
    return this.#error(`invalid character ${quote(String.fromCodePoint(code))} ${where}`);
  }

  #error(message: string): JsonSyntaxError {
    return new JsonSyntaxError(message, this.#at, [...this.#keys]);
  }
}

function isDigit(char: string | undefined): boolean {
  return char !== undefined && char >= "0" && char <= "9";
}

/** Quotes a character like Go: in single quotes, with escapes. */
function quote(char: string): string {
  return char === '"' ? `'"'` : char === "'" ? "'\\''" : `'${JSON.stringify(char).slice(1, -1)}'`;
}
