import { type IPv4, parseIPv4 } from "../ip/mod.ts";
import { ConfigError } from "./errors.ts";
import { type JsonNode, JsonSyntaxError, parseJson } from "./json_syntax.ts";
import { hideUrlPasswords, isSecretKey } from "./secrets.ts";
import { truncate } from "../text/mod.ts";

/** Characters of a value in a message. */
const SHOWN = 60;

/** Options of {@linkcode GoObject.int}; the bounds are inclusive. */
export interface IntOptions {
  /** @default Number.MIN_SAFE_INTEGER */
  readonly min?: number;
  /** @default Number.MAX_SAFE_INTEGER */
  readonly max?: number;
  /** Go type of the number in flannel, for Go's message. @default "int" */
  readonly goType?: "int" | "uint";
}

/**
 * A JSON object, decoded by the rules of Go's `encoding/json` like flannel's
 * configuration: the case of keys is ignored, the last duplicate wins,
 * unknown keys are ignored, and `null` equals an absent member.
 *
 * Every getter throws a {@linkcode ConfigError} that names key, value and what would be right, with
 * Go's own words behind it where Go has any.
 *
 * @example
 * ```ts
 * import { GoObject } from "./go_json.ts";
 * const backend = GoObject.parse('{"type": "vxlan", "vni": 7}');
 * console.assert(backend.int("VNI", { min: 1, max: 0xffffff }) === 7);
 * console.assert(backend.bool("GBP") === undefined);
 * ```
 */
export class GoObject {
  /** By folded key. */
  readonly #members = new Map<string, { readonly key: string; readonly node: JsonNode }>();
  /** Requested keys in the program's spelling, by folded key. */
  readonly #asked = new Map<string, string>();
  /** Prefix of keys in messages: `Backend.` for the members of `Backend`. */
  readonly #path: string;

  private constructor(members: readonly (readonly [string, JsonNode])[], path: string) {
    this.#path = path;
    for (const [key, node] of members) {
      if (node.kind !== "null") this.#members.set(fold(key), { key, node });
    }
  }

  /** Returns an object without members. */
  static empty(): GoObject {
    return new GoObject([], "");
  }

  /**
   * Reads a text.
   *
   * @param what names the text in messages, with its article
   * @throws {ConfigError} when it is not a JSON object
   */
  static parse(text: string, what = "the network config"): GoObject {
    const node = parseText(text, what);
    if (node.kind === "null") return GoObject.empty();
    if (node.kind !== "object") {
      throw new ConfigError(
        `${what} must be a JSON object such as {"Network": "10.20.0.0/16"}, not ${
          describe(node)
        } (json: cannot unmarshal ${node.kind} into Go value of type subnet.Config)`,
      );
    }
    return new GoObject(node.members, "");
  }

  /** Returns the keys requested so far, in the program's spelling: in the end all known keys. */
  askedKeys(): string[] {
    return [...this.#asked.values()];
  }

  /** Returns the keys that were not requested so far, in the text's spelling. */
  unreadKeys(): string[] {
    return this.keys().filter((key) => !this.#asked.has(fold(key)));
  }

  /** Returns the keys in the text's spelling, except members that are null. */
  keys(): string[] {
    return [...this.#members.values()].map(({ key }) => key);
  }

  /** Returns whether the key is present and not null. */
  has(key: string): boolean {
    this.#asked.set(fold(key), key);
    return this.#members.has(fold(key));
  }

  /** Returns the key with its path, for messages: `Backend.VNI`. */
  path(key: string): string {
    return this.#path + key;
  }

  /**
   * Returns an integer member.
   *
   * @throws {ConfigError} when it is anything else, or out of range
   */
  int(key: string, options: IntOptions = {}): number | undefined {
    const node = this.#get(key);
    if (node === undefined) return undefined;
    const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER, goType = "int" } =
      options;
    const wanted = options.max !== undefined
      ? `a whole number from ${min} to ${max}`
      : options.min !== undefined
      ? `a whole number not below ${min}`
      : "a whole number";
    if (node.kind !== "number" || !/^-?\d+$/.test(node.text)) {
      throw this.#mismatch(key, node, wanted, goType);
    }
    const value = Number(node.text);
    if (value < min || value > max) {
      throw new ConfigError(`${this.path(key)} must be ${wanted}, not ${node.text}`);
    }
    return value === 0 ? 0 : value; // -0 is 0
  }

  /**
   * Returns a boolean member.
   *
   * @throws {ConfigError} when it is anything else, the strings "true" and "false" included
   */
  bool(key: string): boolean | undefined {
    const node = this.#get(key);
    if (node === undefined) return undefined;
    if (node.kind !== "bool") throw this.#mismatch(key, node, "true or false", "bool");
    return node.value;
  }

  /**
   * Returns a string member, unchanged.
   *
   * @throws {ConfigError} when it is anything else
   */
  string(key: string): string | undefined {
    const node = this.#get(key);
    if (node === undefined) return undefined;
    if (node.kind !== "string") throw this.#mismatch(key, node, "a string", "string");
    return node.value;
  }

  /**
   * Returns a member that is a string or a list of strings, as a list.
   *
   * @throws {ConfigError} when it is anything else
   */
  strings(key: string): string[] | undefined {
    const node = this.#get(key);
    if (node === undefined) return undefined;
    const nodes = node.kind === "array" ? node.elements : [node];
    return nodes.map((one) => {
      if (one.kind === "string") return one.value;
      throw this.#mismatch(key, one, "a string or a list of strings", "string");
    });
  }

  /**
   * Returns a member that is a string with an IPv4 address.
   *
   * @throws {ConfigError} when it is anything else, an IPv6 address included
   */
  ip(key: string): IPv4 | undefined {
    const node = this.#get(key);
    if (node === undefined) return undefined;
    if (node.kind !== "string") {
      throw this.#mismatch(key, node, "an IPv4 address in quotes", "ip.IP4");
    }
    const address = parseIPv4(node.value);
    if (address !== undefined) return address;
    throw new ConfigError(
      node.value.includes(":")
        ? `${this.path(key)} must be an IPv4 address, not the IPv6 address ${describe(node)}`
        : `${this.path(key)} must be an IPv4 address such as 10.20.0.0, not ${
          describe(node)
        } (Invalid IP address format)`,
    );
  }

  /**
   * Returns an object member.
   *
   * @throws {ConfigError} when it is anything else
   */
  object(key: string): GoObject | undefined {
    const node = this.#get(key);
    if (node === undefined) return undefined;
    if (node.kind !== "object") throw this.#mismatch(key, node, "an object", "struct");
    return new GoObject(node.members, `${this.path(key)}.`);
  }

  #get(key: string): JsonNode | undefined {
    this.#asked.set(fold(key), key);
    return this.#members.get(fold(key))?.node;
  }

  #mismatch(key: string, node: JsonNode, wanted: string, goType: string): ConfigError {
    const secret = isSecretKey(key);
    const found = secret ? `a ${node.kind}` : describe(node);
    const go = node.kind === "number" && !secret
      ? `number ${truncate(node.text, SHOWN)}`
      : node.kind;
    // The top-level struct has a name in flannel, those of the backends have none.
    const struct = this.#path === "" ? "Config" : "";
    return new ConfigError(
      `${this.path(key)} must be ${wanted}, not ${found} ` +
        `(json: cannot unmarshal ${go} into Go struct field ${struct}.${key} of type ${goType})`,
    );
  }
}

/** Go compares keys under simple case folding; flannel's keys are ASCII. */
function fold(key: string): string {
  return key.toLowerCase();
}

/** Formats a value for a message, cut to a readable length. */
function describe(node: JsonNode): string {
  switch (node.kind) {
    case "object":
      return "an object";
    case "array":
      return "an array";
    case "null":
      return "null";
    case "bool":
      return String(node.value);
    case "number":
      return truncate(node.text, SHOWN);
    case "string":
      return JSON.stringify(truncate(hideUrlPasswords(node.value), SHOWN));
  }
}

function parseText(text: string, what: string): JsonNode {
  try {
    return parseJson(text);
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    throw new ConfigError(syntaxMessage(error, text, what), { cause: error });
  }
}

/**
 * Describes the position of an error without quoting the text, which may contain a backend's secret.
 */
function syntaxMessage(error: JsonSyntaxError, text: string, what: string): string {
  if (text.trim() === "") {
    return `${what} is empty (${error.message}); write for example {"Network": "10.20.0.0/16"}`;
  }
  const before = text.slice(0, error.offset).split("\n");
  const column = before.at(-1)!.length + 1;
  const place = `line ${before.length}, column ${column}`;
  const inside = error.keys.length > 0 ? `, in the value of ${error.keys.join(".")}` : "";
  const hint = error.message.endsWith("object key string") && text[error.offset] !== "}"
    ? "; keys stand in double quotes, and a shell keeps those only inside single quotes"
    : "";
  return `${what} is not JSON: ${error.message} at ${place}${inside}${hint}`;
}
