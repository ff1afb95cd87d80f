/**
 * Objects that the kernel has one of per key, while several peers may ask for it: it is to be what the
 * latest of them asked for, for as long as that one is there.
 */
export class Claims<K, T> {
  /** By key, what holds now. */
  readonly #holding = new Map<K, T>();
  /** By key, what was asked for earlier, oldest first. Nearly always empty. */
  readonly #earlier = new Map<K, T[]>();

  /** What holds; `undefined` when nobody asks for the key. */
  get(key: K): T | undefined {
    return this.#holding.get(key);
  }

  /** What holds for each key. */
  values(): IterableIterator<T> {
    return this.#holding.values();
  }

  /** Someone asks for an object. */
  add(key: K, object: T): void {
    const holding = this.#holding.get(key);
    this.#holding.set(key, object);
    if (holding === undefined) return;
    const earlier = this.#earlier.get(key);
    if (earlier === undefined) this.#earlier.set(key, [holding]);
    else earlier.push(holding);
  }

  /** Someone no longer asks for the object that he gave to {@linkcode Claims.add}. */
  remove(key: K, object: T): void {
    const earlier = this.#earlier.get(key);
    if (this.#holding.get(key) === object) {
      const heir = earlier?.pop();
      if (heir === undefined) this.#holding.delete(key);
      else this.#holding.set(key, heir);
    } else {
      const at = earlier?.indexOf(object) ?? -1;
      if (at >= 0) earlier!.splice(at, 1);
    }
    if (earlier?.length === 0) this.#earlier.delete(key);
  }

  /** Nobody asks for anything any more. */
  clear(): void {
    this.#holding.clear();
    this.#earlier.clear();
  }
}
