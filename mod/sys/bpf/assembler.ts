import { Helper, type HelperName } from "./constants.ts";

/** A register of the machine. R10 is the frame pointer: 512 bytes below it are the program's. */
export interface Register {
  readonly register: number;
}

const register = (number: number): Register => Object.freeze({ register: number });

export const R0: Register = register(0);
export const R1: Register = register(1);
export const R2: Register = register(2);
export const R3: Register = register(3);
export const R4: Register = register(4);
export const R5: Register = register(5);
export const R6: Register = register(6);
export const R7: Register = register(7);
export const R8: Register = register(8);
export const R9: Register = register(9);
export const R10: Register = register(10);

/** A register, or a number that fits 32 bits (the machine extends its sign to 64). */
export type Operand = Register | number;

/** Bytes of a memory access. */
export type Size = 1 | 2 | 4 | 8;

/** linux/bpf_common.h and linux/bpf.h: instruction classes, the low three bits of an opcode. */
const BPF_LD = 0x00;
const BPF_LDX = 0x01;
const BPF_ST = 0x02;
const BPF_STX = 0x03;
const BPF_ALU = 0x04;
const BPF_JMP = 0x05;
const BPF_JMP32 = 0x06;
const BPF_ALU64 = 0x07;
/** Memory access modes. */
const BPF_IMM = 0x00;
const BPF_MEM = 0x60;
const BPF_ATOMIC = 0xc0;
/** Source of the second operand: immediate or register. */
const BPF_K = 0x00;
const BPF_X = 0x08;
/** BPF_END | BPF_TO_BE. */
const BPF_TO_BE = 0xd8;
const BPF_CALL = 0x80;
const BPF_EXIT = 0x90;
const BPF_JA = 0x00;
/** In the source field of a 64-bit load: the number is a map's descriptor. */
const BPF_PSEUDO_MAP_FD = 1;

/** BPF_W, BPF_H, BPF_B, BPF_DW. */
const SIZES: Readonly<Record<Size, number>> = { 1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18 };

/** Arithmetic. Division is unsigned and by zero gives 0. */
const OPERATIONS = {
  add: 0x00,
  sub: 0x10,
  mul: 0x20,
  div: 0x30,
  or: 0x40,
  and: 0x50,
  lsh: 0x60,
  rsh: 0x70,
  xor: 0xa0,
  mov: 0xb0,
} as const;

/** Name of an arithmetic operation. */
export type Operation = keyof typeof OPERATIONS;

/** Comparisons, unsigned. `set` is "has a bit in common". */
const CONDITIONS = {
  "==": 0x10,
  ">": 0x20,
  ">=": 0x30,
  set: 0x40,
  "!=": 0x50,
  "<": 0xa0,
  "<=": 0xb0,
} as const;

/** A comparison. */
export type Condition = keyof typeof CONDITIONS;

/** Bytes of an instruction. */
const INSTRUCTION = 8;

/** A program that refers to its maps by name. */
export interface AssembledProgram {
  /** Instructions of 8 bytes (linux/bpf.h, `struct bpf_insn`). */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Where a map's descriptor belongs: offset of the instruction, in bytes. */
  readonly relocations: readonly { readonly offset: number; readonly map: string }[];
}

interface Instruction {
  readonly opcode: number;
  readonly destination?: number;
  readonly source?: number;
  readonly offset?: number;
  readonly immediate?: number;
  /** Label that the offset is to lead to. */
  readonly target?: string;
  /** Name of the map whose descriptor becomes the immediate. */
  readonly map?: string;
}

/**
 * Writes a BPF program, an instruction per call, in the order of execution.
 *
 * It does not know the verifier's requirements; the kernel checks them when the program is
 * loaded.
 *
 * @example
 * ```ts
 * import { Assembler, R0, R1 } from "./assembler.ts";
 * import { SkBuff } from "./constants.ts";
 * const program = new Assembler()
 *   .load(R0, R1, SkBuff.len, 4)
 *   .jumpIf32(R0, ">", 1500, "long")
 *   .mov(R0, 0)
 *   .label("long")
 *   .exit()
 *   .assemble();
 * ```
 */
export class Assembler {
  readonly #instructions: Instruction[] = [];
  readonly #labels = new Map<string, number>();

  /** 64-bit arithmetic: destination = destination op operand. */
  alu(destination: Register, operation: Operation, operand: Operand): this {
    return this.#arithmetic(BPF_ALU64, destination, operation, operand);
  }

  /** 32-bit arithmetic; the upper half of the destination becomes zero. */
  alu32(destination: Register, operation: Operation, operand: Operand): this {
    return this.#arithmetic(BPF_ALU, destination, operation, operand);
  }

  /** Copies 64 bits, or a number with its sign. */
  mov(destination: Register, operand: Operand): this {
    return this.alu(destination, "mov", operand);
  }

  /** Turns network order into host order or back; what lies above `bits` becomes zero. */
  swap(destination: Register, bits: 16 | 32 | 64): this {
    return this.#push({
      opcode: BPF_ALU | BPF_TO_BE,
      destination: destination.register,
      immediate: bits,
    });
  }

  /** Loads from memory; what lies above `size` becomes zero. */
  load(destination: Register, base: Register, offset: number, size: Size): this {
    return this.#push({
      opcode: BPF_LDX | BPF_MEM | SIZES[size],
      destination: destination.register,
      source: base.register,
      offset,
    });
  }

  /** Stores a register's low bytes, or a number. */
  store(base: Register, offset: number, operand: Operand, size: Size): this {
    return typeof operand === "number"
      ? this.#push({
        opcode: BPF_ST | BPF_MEM | SIZES[size],
        destination: base.register,
        offset,
        immediate: operand,
      })
      : this.#push({
        opcode: BPF_STX | BPF_MEM | SIZES[size],
        destination: base.register,
        source: operand.register,
        offset,
      });
  }

  /** Adds a register to memory, whatever other processors do there (BPF_ADD of BPF_ATOMIC). */
  atomicAdd(base: Register, offset: number, amount: Register, size: 4 | 8): this {
    return this.#push({
      opcode: BPF_STX | BPF_ATOMIC | SIZES[size],
      destination: base.register,
      source: amount.register,
      offset,
    });
  }

  /** Loads the address of a map. */
  loadMap(destination: Register, map: string): this {
    this.#push({
      opcode: BPF_LD | BPF_IMM | SIZES[8],
      destination: destination.register,
      source: BPF_PSEUDO_MAP_FD,
      map,
    });
    return this.#push({ opcode: 0 });
  }

  /** Goes on at a label. */
  jump(target: string): this {
    return this.#push({ opcode: BPF_JMP | BPF_JA, target });
  }

  /** Goes on at a label when a 64-bit comparison holds. */
  jumpIf(left: Register, condition: Condition, right: Operand, target: string): this {
    return this.#comparison(BPF_JMP, left, condition, right, target);
  }

  /** Goes on at a label when a comparison of the low 32 bits holds (Linux 5.1). */
  jumpIf32(left: Register, condition: Condition, right: Operand, target: string): this {
    return this.#comparison(BPF_JMP32, left, condition, right, target);
  }

  /** Calls a helper; R1 to R5 are undefined afterwards. */
  call(helper: HelperName): this {
    return this.#push({ opcode: BPF_JMP | BPF_CALL, immediate: Helper[helper] });
  }

  /** Ends the program with the verdict in R0. */
  exit(): this {
    return this.#push({ opcode: BPF_JMP | BPF_EXIT });
  }

  /**
   * Names the next instruction.
   *
   * @throws {TypeError} when the name is taken
   */
  label(name: string): this {
    if (this.#labels.has(name)) throw new TypeError(`label ${name} is there already`);
    this.#labels.set(name, this.#instructions.length);
    return this;
  }

  /** Includes what a function writes. */
  include(write: (assembler: this) => void): this {
    write(this);
    return this;
  }

  /**
   * Encodes the program.
   *
   * @throws {TypeError} for a jump to a label that is nowhere
   * @throws {RangeError} for a number that does not fit its field
   */
  assemble(): AssembledProgram {
    const bytes = new Uint8Array(new ArrayBuffer(this.#instructions.length * INSTRUCTION));
    const view = new DataView(bytes.buffer);
    const relocations: { offset: number; map: string }[] = [];
    for (const [index, instruction] of this.#instructions.entries()) {
      const at = index * INSTRUCTION;
      const { opcode, destination = 0, source = 0, immediate = 0, target, map } = instruction;
      const offset = target === undefined ? instruction.offset ?? 0 : this.#distance(index, target);
      if (offset !== (offset << 16) >> 16) throw new RangeError(`offset ${offset} is no i16`);
      if (immediate < -(2 ** 31) || immediate >= 2 ** 32) {
        throw new RangeError(`immediate ${immediate} has more than 32 bits`);
      }
      view.setUint8(at, opcode);
      view.setUint8(at + 1, destination | (source << 4));
      view.setInt16(at + 2, offset, true);
      view.setUint32(at + 4, immediate, true);
      if (map !== undefined) relocations.push({ offset: at, map });
    }
    return { bytes, relocations };
  }

  #distance(from: number, target: string): number {
    const to = this.#labels.get(target);
    if (to === undefined) throw new TypeError(`label ${target} is nowhere`);
    return to - from - 1;
  }

  #arithmetic(
    kind: number,
    destination: Register,
    operation: Operation,
    operand: Operand,
  ): this {
    const opcode = kind | OPERATIONS[operation];
    return typeof operand === "number"
      ? this.#push({
        opcode: opcode | BPF_K,
        destination: destination.register,
        immediate: operand,
      })
      : this.#push({
        opcode: opcode | BPF_X,
        destination: destination.register,
        source: operand.register,
      });
  }

  #comparison(
    kind: number,
    left: Register,
    condition: Condition,
    right: Operand,
    target: string,
  ): this {
    const opcode = kind | CONDITIONS[condition];
    return typeof right === "number"
      ? this.#push({
        opcode: opcode | BPF_K,
        destination: left.register,
        immediate: right,
        target,
      })
      : this.#push({
        opcode: opcode | BPF_X,
        destination: left.register,
        source: right.register,
        target,
      });
  }

  #push(instruction: Instruction): this {
    this.#instructions.push(instruction);
    return this;
  }
}

/**
 * Puts the descriptors of maps where the program names them.
 *
 * @throws {TypeError} for a map that is not given
 */
export function linkProgram(
  program: AssembledProgram,
  maps: Readonly<Record<string, number>>,
): Uint8Array<ArrayBuffer> {
  const bytes = program.bytes.slice();
  const view = new DataView(bytes.buffer);
  for (const { offset, map } of program.relocations) {
    const descriptor = maps[map];
    if (descriptor === undefined) throw new TypeError(`no map ${map} is given`);
    view.setInt32(offset + 4, descriptor, true);
  }
  return bytes;
}
