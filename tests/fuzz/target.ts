import type fc from "fast-check";

/** Runs one input through a parser. It throws, or rejects, when an invariant does not hold. */
export type Run<T> = (input: T) => void | Promise<void>;

/** A parser of untrusted bytes, and its inputs. */
export interface FuzzTarget<T> {
  /** Words with underscores, as `-target` takes it. */
  readonly name: string;
  /** True for a target that loads programs into the kernel. @default false */
  readonly needsRoot?: boolean;
  /** The corpus: run first, each time, and what mutations start from. Reproduced findings go here. */
  readonly seeds: readonly T[];
  readonly inputs: fc.Arbitrary<T>;
  /** Opens what all runs share; the stack is disposed of after the last run. */
  start(stack: AsyncDisposableStack): Run<T> | Promise<Run<T>>;
}

/** An error class that a parser documents. */
// deno-lint-ignore no-explicit-any
export type ErrorClass = abstract new (...args: any[]) => Error;

/**
 * Runs a parser, and returns its result, or `undefined` when it refuses the input.
 *
 * @param classes that the parser documents: any other error is passed on, and so is a message that is not one line
 */
export function refusing<R>(classes: readonly ErrorClass[], parse: () => R): R | undefined {
  try {
    return parse();
  } catch (error) {
    acceptRefusal(classes, error);
    return undefined;
  }
}

/** As {@linkcode refusing}, of a parser that returns a promise. */
export async function refusingAsync<R>(
  classes: readonly ErrorClass[],
  parse: () => Promise<R>,
): Promise<R | undefined> {
  try {
    return await parse();
  } catch (error) {
    acceptRefusal(classes, error);
    return undefined;
  }
}

function acceptRefusal(classes: readonly ErrorClass[], error: unknown): void {
  if (!classes.some((known) => error instanceof known)) throw error;
  const { message } = error as Error;
  if (message === "" || message.length > MAX_MESSAGE_LENGTH) {
    throw new Error(`refused with a message of ${message.length} characters`, { cause: error });
  }
}

/** Characters of the longest message of a refusal: it quotes keys, which may be long, but not whole documents. */
const MAX_MESSAGE_LENGTH = 100_000;
