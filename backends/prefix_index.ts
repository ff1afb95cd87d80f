import { Prefix } from "../mod/ip/mod.ts";

/**
 * Index of objects by prefix. A prefix may have several objects, each with its own identity. Finds objects
 * whose prefix lies inside another prefix or contains it. A look-up costs O(log n), a change moves O(n)
 * numbers.
 */
export class PrefixIndex<T> {
  /** By {@linkcode Prefix.key}, then by identity. */
  readonly #objects = new Map<number, Map<string, T>>();
  /** Keys in ascending order: by address, then by length. */
  readonly #keys: number[] = [];
  /** How many prefixes there are of each length. */
  readonly #lengths: number[] = new Array(33).fill(0);

  /** Adds an object, or puts it in the place of the one with its identity. @param key of the prefix */
  put(key: number, identity: string, object: T): void {
    let objects = this.#objects.get(key);
    if (objects === undefined) {
      this.#objects.set(key, objects = new Map());
      this.#keys.splice(this.#firstFrom(key), 0, key);
      this.#lengths[key % 64]! += 1;
    }
    objects.set(identity, object);
  }

  /** Removes an object. @returns it, or `undefined` when there was none */
  remove(key: number, identity: string): T | undefined {
    const objects = this.#objects.get(key);
    const object = objects?.get(identity);
    if (objects === undefined || object === undefined) return undefined;
    objects.delete(identity);
    if (objects.size === 0) {
      this.#objects.delete(key);
      this.#keys.splice(this.#firstFrom(key), 1);
      this.#lengths[key % 64]! -= 1;
    }
    return object;
  }

  /** Removes all objects that fit. Costs O(n). @returns how many */
  removeAll(fits: (object: T) => boolean): number {
    let count = 0;
    for (const [key, objects] of [...this.#objects]) {
      for (const [identity, object] of [...objects]) {
        if (fits(object) && this.remove(key, identity) !== undefined) count++;
      }
    }
    return count;
  }

  /** Forgets everything. */
  clear(): void {
    this.#objects.clear();
    this.#keys.length = 0;
    this.#lengths.fill(0);
  }

  /** All objects. */
  values(): T[] {
    return [...this.#objects.values()].flatMap((objects) => [...objects.values()]);
  }

  /** True when there is such an object. @param key of the prefix */
  has(key: number, identity: string): boolean {
    return this.#objects.get(key)?.has(identity) ?? false;
  }

  /** The first object that fits whose prefix is equal to `prefix` or lies inside. */
  findInside(prefix: Prefix, fits: (object: T) => boolean = () => true): T | undefined {
    if (this.#keys.length === 0) return undefined;
    const last = new Prefix(prefix.last, 32).key;
    // Prefixes that begin where this one does, and are shorter, come before its key.
    for (let i = this.#firstFrom(prefix.key); i < this.#keys.length; i++) {
      const key = this.#keys[i]!;
      if (key > last) return undefined;
      for (const object of this.#objects.get(key)!.values()) if (fits(object)) return object;
    }
    return undefined;
  }

  /** An object whose prefix holds all of `prefix` and more. */
  findAround({ address, length }: Prefix): T | undefined {
    if (this.#keys.length === 0) return undefined;
    for (let shorter = length - 1; shorter >= 0; shorter--) {
      if (this.#lengths[shorter] === 0) continue;
      const objects = this.#objects.get(new Prefix(address, shorter).key);
      if (objects !== undefined) return objects.values().next().value;
    }
    return undefined;
  }

  /** Where the first key is that is not less. */
  #firstFrom(key: number): number {
    let [low, high] = [0, this.#keys.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#keys[middle]! < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
