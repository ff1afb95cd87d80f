/**
 * BTF, the kernel's own description of its types (Documentation/bpf/btf.rst): as much of it as it takes to
 * find the names of an enumeration.
 *
 * @module
 */

/** Where a kernel with CONFIG_DEBUG_INFO_BTF shows its types. */
const PATH = "/sys/kernel/btf/vmlinux";

/** struct btf_header: u16 magic, u8 version, u8 flags, u32 header length, then offset and length of types and of strings. */
const MAGIC = 0xeb9f;
/** struct btf_type: u32 name, u32 info (member count 16 bits, kind from bit 24), u32 size. */
const TYPE_LENGTH = 12;
const KIND_ENUM = 6;

/** Bytes behind a type by its kind: fixed ones, and for each member. Kinds that are not here have none. */
const FIXED: Readonly<Record<number, number>> = { 1: 4, 3: 12, 14: 4, 17: 4 };
const PER_MEMBER: Readonly<Record<number, number>> = { 4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12 };

/**
 * Reads the names of an enumeration's values.
 *
 * @param btf contents of /sys/kernel/btf/vmlinux
 * @param name `skb_drop_reason`
 * @returns `undefined` when it has none of that name, or is no BTF
 */
export function readBtfEnum(btf: Uint8Array, name: string): Map<number, string> | undefined {
  const view = new DataView(btf.buffer, btf.byteOffset, btf.length);
  if (btf.length < 24 || view.getUint16(0, true) !== MAGIC) return undefined;
  const headerLength = view.getUint32(4, true);
  const types = headerLength + view.getUint32(8, true);
  const typesEnd = types + view.getUint32(12, true);
  const strings = headerLength + view.getUint32(16, true);
  const stringsEnd = strings + view.getUint32(20, true);
  if (typesEnd > btf.length || stringsEnd > btf.length) return undefined;
  const text = (offset: number) => {
    const start = strings + offset;
    const end = btf.indexOf(0, start);
    return new TextDecoder().decode(btf.subarray(start, end < 0 ? stringsEnd : end));
  };
  for (let at = types; at + TYPE_LENGTH <= typesEnd;) {
    const info = view.getUint32(at + 4, true);
    const [count, kind] = [info & 0xffff, (info >>> 24) & 0x1f];
    const members = at + TYPE_LENGTH;
    const end = members + (FIXED[kind] ?? 0) + count * (PER_MEMBER[kind] ?? 0);
    if (end > typesEnd) return undefined;
    if (kind === KIND_ENUM && count > 0 && text(view.getUint32(at, true)) === name) {
      const names = new Map<number, string>();
      for (let member = members; member < end; member += 8) {
        names.set(view.getInt32(member + 4, true), text(view.getUint32(member, true)));
      }
      return names;
    }
    at = end;
  }
  return undefined;
}

/** The names of an enumeration of the running kernel; `undefined` when it does not show them. */
export function kernelEnum(name: string): Map<number, string> | undefined {
  try {
    return readBtfEnum(Deno.readFileSync(PATH), name);
  } catch {
    return undefined;
  }
}
