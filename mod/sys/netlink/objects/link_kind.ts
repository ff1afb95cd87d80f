import { AttributeCursor } from "../wire/message.ts";
import { MessageWriter } from "../wire/message_writer.ts";
import type { Link, Mac } from "../wire/types.ts";

/** Encodes, decodes and describes the attributes that links of one kind have. */
export interface LinkKindCodec<T extends object> {
  /** IFLA_INFO_KIND: `vxlan`. */
  readonly name: string;
  /** Kernel module that provides the kind: `ip_gre` of gretap. @default `name` */
  readonly module?: string;
  /** Writes the attributes of a link to be created, in the order of iproute2. */
  encode(writer: MessageWriter, attributes: Partial<T>): void;
  /** Reads the attributes inside IFLA_INFO_DATA. */
  decode(data: AttributeCursor): T;
  /** Returns the attributes in the words of ip-link(8). */
  describe(attributes: T, nameOf: (index: number) => string): string[];
}

/** A link to be created. */
export interface NewLink<T extends object = object> {
  readonly name: string;
  /** Bytes. */
  readonly mtu: number;
  /** Absent for kinds without Ethernet addresses. */
  readonly mac?: Mac | undefined;
  /** Index of the bridge that it becomes a port of. */
  readonly master?: number | undefined;
  readonly kind: LinkKind<T>;
  readonly attributes: Partial<T>;
}

/**
 * A kind of links that this program creates. The netlink code knows no kind: whoever creates links of one defines it.
 */
export class LinkKind<T extends object> {
  static readonly #defined = new Map<string, LinkKind<object>>();
  readonly name: string;
  /** Kernel module that provides the kind. */
  readonly module: string;
  readonly #codec: LinkKindCodec<T>;

  /** Defines a kind, for {@linkcode LinkKind.describe} too. */
  constructor(codec: LinkKindCodec<T>) {
    this.name = codec.name;
    this.module = codec.module ?? codec.name;
    this.#codec = codec;
    LinkKind.#defined.set(this.name, this as unknown as LinkKind<object>);
  }

  /** Returns the attributes of a link of an already defined kind, in the words of ip-link(8). */
  static describe(link: Link, nameOf: (index: number) => string): string[] {
    const kind = LinkKind.#defined.get(link.kind ?? "");
    const attributes = kind?.of(link);
    return attributes === undefined ? [] : kind!.#codec.describe(attributes, nameOf);
  }

  /** Returns the attributes of a link; `undefined` for a link of another kind. */
  of({ kind, data = NO_DATA }: Link): T | undefined {
    if (kind !== this.name) return undefined;
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    return this.#codec.decode(new AttributeCursor().enter(view, 0, data.length));
  }

  /** Returns IFLA_INFO_DATA of a link with these attributes. */
  encode(attributes: Partial<T>): Uint8Array {
    const writer = new MessageWriter();
    this.#codec.encode(writer, attributes);
    return writer.bytes.slice();
  }
}

const NO_DATA = new Uint8Array();
