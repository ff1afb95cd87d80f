/** Memory whose address may be given to the kernel. Valid until its {@linkcode Arena} is closed. */
export interface Memory {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The same bytes. */
  readonly view: DataView<ArrayBuffer>;
  /** For FFI parameters. */
  readonly pointer: Deno.PointerObject;
  /** For pointers inside structures (iov_base, msg_iov): write with `setBigUint64(.., true)`. */
  readonly address: bigint;
}

/**
 * Owns the memory that the kernel, or a C structure, knows by address.
 *
 * V8 moves what lies on its heap (typed arrays under 64 bytes do) and collects what no JavaScript
 * value refers to; an address refers to nothing. In both cases the kernel would write into memory that has
 * another use by then. So:
 *
 * 1. Whatever is reached by address (an iovec's buffer, a msghdr's iovec, a pollfd of a call that is
 *    still running) is allocated here. A plain `buffer` parameter of a *sync* call needs no arena,
 *    as long as its backing store is not on the heap: `new Uint8Array(new ArrayBuffer(n))`.
 * 2. Memory of an open arena never moves and is never collected, even if nothing else refers to
 *    the arena: open arenas are reachable from the module itself.
 * 3. Close it only when no call is under way that uses it. Closing leaves the memory to the
 *    collector: memory that JavaScript still refers to stays valid.
 *
 * @example
 * ```ts
 * import { Arena } from "./arena.ts";
 * using arena = new Arena();
 * const buffer = arena.allocate(1500);
 * const iovec = arena.allocate(16); // struct iovec { void *iov_base; size_t iov_len; }
 * iovec.view.setBigUint64(0, buffer.address, true);
 * iovec.view.setBigUint64(8, 1500n, true);
 * ```
 */
export class Arena implements Disposable {
  #memory: Memory[] = [];
  #closed = false;

  constructor() {
    open.add(this);
  }

  /** Bytes allocated so far. */
  get size(): number {
    return this.#memory.reduce((sum, memory) => sum + memory.bytes.length, 0);
  }

  /**
   * Allocates zeroed memory, aligned for any C type (to 16 bytes, as malloc(3) does).
   *
   * @param size bytes, at least 1
   * @throws {RangeError} for a size that is not a positive whole number
   * @throws {TypeError} when the arena is closed
   */
  allocate(size: number): Memory {
    if (this.#closed) throw new TypeError("the arena is closed");
    if (!Number.isInteger(size) || size < 1) throw new RangeError(`cannot allocate ${size} bytes`);
    // Through an ArrayBuffer of its own: only so is the store off V8's heap at every size.
    const bytes = new Uint8Array(new ArrayBuffer(size));
    const pointer = Deno.UnsafePointer.of(bytes)!;
    const memory: Memory = {
      bytes,
      view: new DataView(bytes.buffer),
      pointer,
      address: Deno.UnsafePointer.value(pointer),
    };
    this.#memory.push(memory);
    return memory;
  }

  /** Releases all memory. Closing twice is fine. */
  close(): void {
    this.#closed = true;
    this.#memory = [];
    open.delete(this);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

const open = new Set<Arena>();
