/**
 * Kernel objects that exist once per key, while several peers may need one: each is as the latest of the present
 * peers asked for.
 */
export class SharedEntries<K, T> {
  /** By key, the object in force. */
  readonly #current = new Map<K, T>();
  /** By key, objects that were asked for earlier, oldest first. Nearly always empty. */
  readonly #earlier = new Map<K, T[]>();

  /** Returns the object in force; `undefined` when no peer needs the key. */
  get(key: K): T | undefined {
    return this.#current.get(key);
  }

  /** Returns the object in force of each key. */
  values(): IterableIterator<T> {
    return this.#current.values();
  }

  /** Adds the object of one more peer. */
  add(key: K, object: T): void {
    const current = this.#current.get(key);
    this.#current.set(key, object);
    if (current === undefined) return;
    const earlier = this.#earlier.get(key);
    if (earlier === undefined) this.#earlier.set(key, [current]);
    else earlier.push(current);
  }

  /** Removes the object that a peer gave to {@linkcode SharedEntries.add}. */
  remove(key: K, object: T): void {
    const earlier = this.#earlier.get(key);
    if (this.#current.get(key) === object) {
      const next = earlier?.pop();
      if (next === undefined) this.#current.delete(key);
      else this.#current.set(key, next);
    } else {
      const at = earlier?.indexOf(object) ?? -1;
      if (at >= 0) earlier!.splice(at, 1);
    }
    if (earlier?.length === 0) this.#earlier.delete(key);
  }

  /** Removes all objects. */
  clear(): void {
    this.#current.clear();
    this.#earlier.clear();
  }
}
