import { Arena, type Memory } from "../../ffi/arena.ts";

/** Bytes of a block, which receives a dump or a group of events. */
export const RECEIVE_MEMORY = 256 * 1024;

/** Blocks that wait for their next user. */
const MAX_SPARE = 4;

const spare: Memory[] = [];
/** Each block has an arena of its own, so that one can go to the collector without the others. */
const owners = new WeakMap<Memory, Arena>();

/**
 * Takes a block that an earlier socket has returned, or allocates one. Every config change and every check of
 * an IP set opens a socket. New blocks would wait for the garbage collector, half a megabyte for each change.
 */
export function takeReceiveMemory(): Memory {
  const found = spare.pop();
  if (found !== undefined) return found;
  const arena = new Arena();
  const memory = arena.allocate(RECEIVE_MEMORY);
  owners.set(memory, arena);
  return memory;
}

/** Returns a block that no socket uses any more. */
export function giveReceiveMemory(memory: Memory): void {
  if (spare.length < MAX_SPARE) spare.push(memory);
  else owners.get(memory)?.close();
}
