/**
 * JSON Schema of `/status`, from the interfaces of mod/agent/status/status.ts and their comments. Reads as much
 * of TypeScript as they have.
 *
 * @module
 */

/** A JSON Schema, 2020-12. */
export type Schema = { [key: string]: unknown };

const TOKEN = /\s+|(\/\*\*[^]*?\*\/)|"([^"]*)"|(\w+|\{|\}|\[\]|[?:;|<>,=()])/gy;

/** A comment, a string or a word. */
type Token = readonly [kind: "comment" | "string" | "word", text: string];

/**
 * Converts the module's exported interfaces.
 *
 * @param source of the module; `root` is one of its interfaces
 * @throws {Error} for a type that is none of those that status.ts has
 */
export function statusSchema(source: string, root: string): Schema {
  const definitions: Schema = {};
  const constants = new Map<string, number>();
  for (const [, name, value] of source.matchAll(/^export const (\w+) = (\d+);/gm)) {
    constants.set(name!, Number(value));
  }
  const declaration =
    /^(\/\*\*(?:(?!\*\/)[^])*\*\/\n)?export interface (\w+)(?: extends (\w+))? (\{\n[^]*?^\})/gm;
  for (const [, comment, name, base, body] of source.matchAll(declaration)) {
    const schema = new TypeReader(body!, constants).read();
    const parent = base === undefined ? {} : definitions[base] as Schema;
    definitions[name!] = {
      ...describe(comment),
      ...schema,
      properties: { ...parent.properties as Schema, ...schema.properties as Schema },
      required: [...parent.required as string[] ?? [], ...schema.required as string[]],
    };
  }
  // A base has to come before its heirs.
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "flanneld status",
    $ref: `#/$defs/${root}`,
    $defs: definitions,
  };
}

class TypeReader {
  readonly #tokens: Token[] = [];
  readonly #constants: ReadonlyMap<string, number>;
  #at = 0;

  constructor(text: string, constants: ReadonlyMap<string, number>) {
    this.#constants = constants;
    TOKEN.lastIndex = 0;
    while (TOKEN.lastIndex < text.length) {
      const from = TOKEN.lastIndex;
      const match = TOKEN.exec(text);
      if (match === null) throw new Error(`unknown token at ${text.slice(from, from + 40)}`);
      const [, comment, string, word] = match;
      if (comment !== undefined) this.#tokens.push(["comment", comment]);
      if (string !== undefined) this.#tokens.push(["string", string]);
      if (word !== undefined) this.#tokens.push(["word", word]);
    }
  }

  /** Reads a type: alternatives, each with any number of `[]` behind it. */
  read(): Schema {
    this.#skip("|");
    const parts = [this.#member()];
    while (this.#skip("|")) parts.push(this.#member());
    if (parts.length === 1) return parts[0]!;
    if (parts.every((part) => typeof part.const === "string")) {
      return { enum: parts.map((part) => part.const) };
    }
    return { anyOf: parts };
  }

  #member(): Schema {
    let schema = this.#simple();
    while (this.#skip("[]")) schema = { type: "array", items: schema };
    return schema;
  }

  #simple(): Schema {
    const [kind, text] = this.#next();
    if (kind === "string") return { const: text };
    switch (text) {
      case "readonly":
        return this.#member();
      case "string":
      case "number":
      case "boolean":
      case "null":
        return { type: text };
      case "typeof": {
        const name = this.#next()[1];
        if (!this.#constants.has(name)) throw new Error(`${name} is no number of the module`);
        return { const: this.#constants.get(name) };
      }
      case "Readonly":
        return this.#inBrackets(() => this.read());
      case "Record":
        return this.#inBrackets(() => {
          this.read();
          this.#expect(",");
          return { type: "object", additionalProperties: this.read() };
        });
      case "{":
        return this.#object();
    }
    if (/^[A-Z]\w*$/.test(text)) return { $ref: `#/$defs/${text}` };
    throw new Error(`${text} begins no type that is known`);
  }

  #object(): Schema {
    const properties: Schema = {};
    const required: string[] = [];
    let comment: string | undefined;
    while (!this.#skip("}")) {
      const [kind, text] = this.#next();
      if (kind === "comment") comment = text;
      else if (text !== "readonly") {
        const isOptional = this.#skip("?");
        this.#expect(":");
        properties[text] = { ...describe(comment), ...this.read() };
        this.#skip(";");
        if (!isOptional) required.push(text);
        comment = undefined;
      }
    }
    return { type: "object", properties, required };
  }

  #inBrackets(read: () => Schema): Schema {
    this.#expect("<");
    const schema = read();
    this.#expect(">");
    return schema;
  }

  #next(): Token {
    const token = this.#tokens[this.#at++];
    if (token === undefined) throw new Error("the type ends too early");
    return token;
  }

  #skip(word: string): boolean {
    const [kind, text] = this.#tokens[this.#at] ?? [];
    if (kind !== "word" || text !== word) return false;
    this.#at++;
    return true;
  }

  #expect(word: string): void {
    if (!this.#skip(word)) throw new Error(`expected ${word}, not ${this.#tokens[this.#at]?.[1]}`);
  }
}

function describe(comment: string | undefined): Schema {
  const text = comment?.replace(/^\s*\/\*\*|\*\/\s*$|^\s*\* ?/gm, " ").replace(/\s+/g, " ").trim();
  return text === undefined ? {} : { description: text.replace(/\{@linkcode (\w+)\}/g, "`$1`") };
}
