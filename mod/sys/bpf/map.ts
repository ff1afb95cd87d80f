import { Arena, type Memory } from "../ffi/arena.ts";
import { Errno, SysError } from "../ffi/errno.ts";
import { closeDescriptor, errno } from "../ffi/libc.ts";
import { bpf, objectName, tryBpf } from "./call.ts";
import { BPF_F_NO_PREALLOC, type CommandName, MapType, type MapTypeName } from "./constants.ts";
import { fileCall } from "./file_call.ts";
import { objectInfo } from "./info.ts";

/** Type and sizes of a map. Maps of one shape can replace each other. */
export interface MapShape {
  readonly type: MapTypeName;
  /** Bytes. */
  readonly keySize: number;
  /** Bytes; of a per-CPU map for each processor. */
  readonly valueSize: number;
  readonly maxEntries: number;
  /** Allocate elements as they come (BPF_F_NO_PREALLOC). @default false; an LPM trie always does */
  readonly sparse?: boolean;
}

/** A BPF map. Keys and values are bytes; what they mean is the owner's. */
export class BpfMap implements Disposable {
  readonly fd: number;
  readonly shape: MapShape;
  /** How many values an element has: 1, or one per possible processor. */
  readonly copies: number;
  readonly #arena = new Arena();
  readonly #attributes: Memory;
  readonly #key: Memory;
  readonly #next: Memory;
  readonly #value: Memory;
  /** From one processor's value to the next: the kernel rounds up to 8. */
  readonly #stride: number;

  /** @param fd that this instance owns from now on */
  constructor(fd: number, shape: MapShape) {
    this.fd = fd;
    this.shape = shape;
    this.copies = shape.type.includes("PERCPU") ? possibleProcessors() : 1;
    this.#stride = this.copies === 1 && !shape.type.includes("PERCPU")
      ? shape.valueSize
      : (shape.valueSize + 7) & ~7;
    this.#attributes = this.#arena.allocate(32);
    this.#key = this.#arena.allocate(shape.keySize);
    this.#next = this.#arena.allocate(shape.keySize);
    this.#value = this.#arena.allocate(this.#stride * this.copies);
    this.#attributes.view.setInt32(0, fd, true);
  }

  /**
   * Makes a map.
   *
   * @param name up to 15 letters, digits and underscores
   * @throws {SysError} EPERM without CAP_BPF; EINVAL for a type this kernel has not; ENOMEM
   */
  static create(name: string, shape: MapShape): BpfMap {
    const attributes = new Uint8Array(new ArrayBuffer(48));
    const view = new DataView(attributes.buffer);
    view.setUint32(0, MapType[shape.type], true);
    view.setUint32(4, shape.keySize, true);
    view.setUint32(8, shape.valueSize, true);
    view.setUint32(12, shape.maxEntries, true);
    view.setUint32(16, flagsOf(shape), true);
    attributes.set(objectName(name), 28);
    return new BpfMap(bpf("BPF_MAP_CREATE", attributes, { subject: name }), shape);
  }

  /**
   * True when the map behind a descriptor is as {@linkcode BpfMap.create} makes it: of this shape, without
   * flags besides, some of which keep programs from writing or reading (BPF_F_RDONLY_PROG), and not
   * frozen, which keeps us from it.
   */
  static hasShape(fd: number, shape: MapShape): boolean {
    const info = objectInfo(fd, 24);
    return info.getUint32(0, true) === MapType[shape.type] &&
      info.getUint32(8, true) === shape.keySize &&
      info.getUint32(12, true) === shape.valueSize &&
      info.getUint32(16, true) === shape.maxEntries &&
      info.getUint32(20, true) === flagsOf(shape) &&
      !isFrozen(fd);
  }

  /** Number of the map, unique on the machine. */
  get id(): number {
    return objectInfo(this.fd, 8).getUint32(4, true);
  }

  /**
   * The values of a key, one per processor in a per-CPU map; `undefined` when it is not there. A
   * view that the next call overwrites.
   */
  lookup(key: Uint8Array): DataView | undefined {
    this.#key.bytes.set(key);
    return this.#call("BPF_MAP_LOOKUP_ELEM", this.#value) ? this.#value.view : undefined;
  }

  /**
   * Sets a key. A per-CPU map takes the value for every processor.
   *
   * @throws {SysError} E2BIG when the map is full
   */
  update(key: Uint8Array, value: Uint8Array): void {
    this.#key.bytes.set(key);
    for (let copy = 0; copy < this.copies; copy++) {
      this.#value.bytes.set(value, copy * this.#stride);
    }
    this.#call("BPF_MAP_UPDATE_ELEM", this.#value);
  }

  /** Removes a key. @returns false when it was not there */
  delete(key: Uint8Array): boolean {
    this.#key.bytes.set(key);
    return this.#call("BPF_MAP_DELETE_ELEM", undefined);
  }

  /**
   * All keys at about one moment: what is added or removed meanwhile may be there or not.
   *
   * @returns each a copy
   */
  keys(): Uint8Array[] {
    const keys: Uint8Array[] = [];
    // NULL asks for the first one.
    this.#attributes.view.setBigUint64(8, 0n, true);
    this.#attributes.view.setBigUint64(16, this.#next.address, true);
    while (tryBpf("BPF_MAP_GET_NEXT_KEY", this.#attributes.bytes) === 0) {
      keys.push(this.#next.bytes.slice());
      this.#key.bytes.set(this.#next.bytes);
      this.#attributes.view.setBigUint64(8, this.#key.address, true);
    }
    const error = errno();
    if (error !== Errno.ENOENT) throw new SysError("BPF_MAP_GET_NEXT_KEY", error);
    return keys;
  }

  /** Adds up an u64 over all processors; of what {@linkcode BpfMap.lookup} returned. */
  sum(values: DataView, offset: number): number {
    let sum = 0;
    for (let copy = 0; copy < this.copies; copy++) {
      sum += Number(values.getBigUint64(copy * this.#stride + offset, true));
    }
    return sum;
  }

  /** The u64 at an index of an array, added up over all processors. */
  total(index: number): number {
    return this.sum(this.lookup(new Uint8Array(new Uint32Array([index]).buffer))!, 0);
  }

  /** Closes the descriptor. The map lives on while a program or a pin holds it. */
  [Symbol.dispose](): void {
    closeDescriptor(this.fd);
    this.#arena.close();
  }

  /** @returns false when there is no such key */
  #call(command: CommandName, value: Memory | undefined): boolean {
    const { view, bytes } = this.#attributes;
    view.setBigUint64(8, this.#key.address, true);
    view.setBigUint64(16, value?.address ?? 0n, true);
    if (tryBpf(command, bytes) !== -1) return true;
    const error = errno();
    if (error === Errno.ENOENT) return false;
    throw new SysError(command, error);
  }
}

/** `map_flags` that a map of a shape is made with. */
function flagsOf({ type, sparse }: MapShape): number {
  return sparse || type === "BPF_MAP_TYPE_LPM_TRIE" ? BPF_F_NO_PREALLOC : 0;
}

/** True after BPF_MAP_FREEZE: only proc(5) shows it, `bpf_map_info` has no field for it. */
function isFrozen(fd: number): boolean {
  const path = `/proc/self/fdinfo/${fd}`;
  return /^frozen:\s*1$/m.test(fileCall("read", path, () => Deno.readTextFileSync(path)));
}

/** Documentation/admin-guide/cputopology.rst of the kernel. */
const POSSIBLE = "/sys/devices/system/cpu/possible";

let processors: number | undefined;

/** Processors that the machine may ever have, hot-plugged ones included: per-CPU maps have a value for each. */
export function possibleProcessors(): number {
  return processors ??= countProcessors(
    fileCall("read", POSSIBLE, () => Deno.readTextFileSync(POSSIBLE)),
  );
}

/** Counts a kernel's CPU list, `0-3,8-11`: values lie by position up to the highest number. */
export function countProcessors(list: string): number {
  const numbers = list.trim().split(/[,-]/).map(Number);
  return Math.max(...numbers) + 1;
}
