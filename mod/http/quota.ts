/** Amounts that the clients of one address have in use: connections, polls, or bytes. */
export class AddressQuota {
  readonly #most: number;
  readonly #used = new Map<string, number>();

  /** @param most of each address */
  constructor(most: number) {
    this.#most = most;
  }

  /**
   * Takes an amount; {@linkcode release} returns it. An amount above the limit is granted to an address that
   * has nothing in use.
   *
   * @returns false when the address has reached its limit
   */
  take(address: string, amount = 1): boolean {
    const key = addressKey(address);
    const used = this.#used.get(key) ?? 0;
    if (used > 0 && used + amount > this.#most) return false;
    this.#used.set(key, used + amount);
    return true;
  }

  release(address: string, amount = 1): void {
    const key = addressKey(address);
    const left = (this.#used.get(key) ?? 0) - amount;
    if (left > 0) this.#used.set(key, left);
    else this.#used.delete(key);
  }

  /** Addresses that have something in use. */
  get addresses(): number {
    return this.#used.size;
  }
}

/** Groups of 16 bits in the IPv6 prefix of one client: a /64 (RFC 6177). */
const PREFIX_GROUPS = 4;

/** Returns the key of a client's quota: its IPv4 address, or the /64 of its IPv6 address. */
export function addressKey(address: string): string {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, "");
  if (!plain.includes(":")) return plain;
  const [before = "", behind = ""] = plain.split("%")[0]!.split("::").map((part) => part);
  const head = before === "" ? [] : before.split(":");
  const tail = behind === "" ? [] : behind.split(":");
  const gap = Array<string>(Math.max(0, 8 - head.length - tail.length)).fill("0");
  return [...head, ...gap, ...tail].slice(0, PREFIX_GROUPS).join(":");
}
