/**
 * The XML of AWS's query APIs: elements and text. Attributes are checked and dropped (there is only
 * `xmlns`), document types are refused.
 *
 * @module
 */

/** Deepest nesting that is read; EC2's answers have some 10. */
const DEEPEST = 64;

/** Text that is not such XML. */
export class XmlError extends Error {
  override readonly name = "XmlError";
}

/** An element. */
export class XmlElement {
  readonly name: string;
  readonly children: readonly XmlElement[];
  /** Its character data without that of its children; white space as it was. */
  readonly text: string;

  constructor(name: string, children: readonly XmlElement[] = [], text = "") {
    this.name = name;
    this.children = children;
    this.text = text;
  }

  /** The first child of a name, along a path. */
  find(...path: readonly string[]): XmlElement | undefined {
    return path.reduce<XmlElement | undefined>(
      (at, name) => at?.children.find((child) => child.name === name),
      this,
    );
  }

  /** The trimmed text of the element at a path; `undefined` when there is none, or it is empty. */
  value(...path: readonly string[]): string | undefined {
    return this.find(...path)?.text.trim() || undefined;
  }

  /** The members of a set: EC2 writes `<routeSet><item/><item/></routeSet>`. */
  items(set: string): readonly XmlElement[] {
    return this.find(set)?.children.filter(({ name }) => name === "item") ?? [];
  }
}

/** XML 1.0, restricted to ASCII names, which all of AWS's are. */
const NAME = /[A-Za-z_:][A-Za-z0-9_:.-]*/y;
const SPACE = /[ \t\r\n]*/y;
const ATTRIBUTE = /[ \t\r\n]+[A-Za-z_:][A-Za-z0-9_:.-]*[ \t\r\n]*=[ \t\r\n]*("[^"<]*"|'[^'<]*')/y;
const DECLARATION = /<\?xml[ \t\r\n][^?]*\?>/y;

const ENTITIES: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
};

/**
 * Reads a document.
 *
 * @returns its root element
 * @throws {XmlError} with the offset, when it is anything else
 */
export function parseXml(text: string): XmlElement {
  return new Parser(text).document();
}

class Parser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  document(): XmlElement {
    if (this.#text.charCodeAt(0) === 0xfeff) this.#at = 1;
    // moto's answers begin with white space, which XML allows where there is no declaration.
    this.#match(DECLARATION);
    this.#skipMisc();
    const root = this.#element(1);
    this.#skipMisc();
    if (this.#at < this.#text.length) throw this.#error("something follows the root element");
    return root;
  }

  #element(depth: number): XmlElement {
    if (depth > DEEPEST) throw this.#error(`elements nest deeper than ${DEEPEST}`);
    if (!this.#take("<")) throw this.#error("an element is missing");
    const name = this.#match(NAME);
    if (name === undefined) throw this.#error("an element has no name");
    while (this.#match(ATTRIBUTE) !== undefined);
    this.#match(SPACE);
    if (this.#take("/>")) return new XmlElement(name);
    if (!this.#take(">")) throw this.#error(`the tag of ${name} does not end`);
    const children: XmlElement[] = [];
    let content = "";
    for (;;) {
      content += this.#characters();
      if (this.#take("</")) break;
      if (this.#take("<!--")) this.#until("-->");
      else if (this.#take("<![CDATA[")) content += this.#until("]]>");
      else if (this.#text.startsWith("<!", this.#at) || this.#text.startsWith("<?", this.#at)) {
        throw this.#error("a declaration or an instruction stands inside an element");
      } else children.push(this.#element(depth + 1));
    }
    if (this.#match(NAME) !== name) throw this.#error(`${name} is ended by another tag`);
    this.#match(SPACE);
    if (!this.#take(">")) throw this.#error(`the end tag of ${name} does not end`);
    return new XmlElement(name, children, content);
  }

  /** Text up to the next `<`, decoded. */
  #characters(): string {
    const end = this.#text.indexOf("<", this.#at);
    if (end < 0) throw this.#error("an element does not end");
    const raw = this.#text.slice(this.#at, end);
    const text = raw.replace(/&([^;&]{0,10};?)/g, (whole, body: string) => {
      const value = decodeEntity(body);
      if (value === undefined) throw this.#error(`${JSON.stringify(whole)} is no entity`);
      return value;
    });
    this.#at = end;
    return text;
  }

  /** Comments and white space. */
  #skipMisc(): void {
    for (;;) {
      this.#match(SPACE);
      if (!this.#take("<!--")) return;
      this.#until("-->");
    }
  }

  #until(end: string): string {
    const at = this.#text.indexOf(end, this.#at);
    if (at < 0) throw this.#error(`${end} is missing`);
    const text = this.#text.slice(this.#at, at);
    this.#at = at + end.length;
    return text;
  }

  #take(token: string): boolean {
    if (!this.#text.startsWith(token, this.#at)) return false;
    this.#at += token.length;
    return true;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text);
    if (match === null) return undefined;
    this.#at = pattern.lastIndex;
    return match[0];
  }

  #error(what: string): XmlError {
    return new XmlError(`${what} (at character ${this.#at})`);
  }
}

/** @param body between `&` and the end of `;` */
function decodeEntity(body: string): string | undefined {
  if (!body.endsWith(";")) return undefined;
  const name = body.slice(0, -1);
  if (Object.hasOwn(ENTITIES, name)) return ENTITIES[name];
  const number = /^#(?:(\d{1,7})|x([0-9a-fA-F]{1,6}))$/.exec(name);
  if (number === null) return undefined;
  const point = number[1] === undefined ? parseInt(number[2]!, 16) : Number(number[1]);
  return isChar(point) ? String.fromCodePoint(point) : undefined;
}

/** Char of XML 1.0, section 2.2. */
function isChar(point: number): boolean {
  return point === 0x9 || point === 0xa || point === 0xd || (point >= 0x20 && point <= 0xd7ff) ||
    (point >= 0xe000 && point <= 0xfffd) || (point >= 0x10000 && point <= 0x10ffff);
}
