/** Repeatable random values for tests of msgpack and of what is built on it. */
import { seededRandom } from '../../src/core/random.ts';

export class RandomValues {
  readonly #next: () => number;

  constructor(seed: number) {
    this.#next = seededRandom(seed).next;
  }

  /** A whole number in [0, limit). */
  below(limit: number): number {
    return Math.floor(this.#next() * limit);
  }

  chance(probability: number): boolean {
    return this.#next() < probability;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }

  /** Mostly short ASCII; now and then long, with escapes, or beyond ASCII. */
  text(): string {
    const alphabet = this.pick(['abcdefgh._-/ ', 'abc', 'a"\\\n\t\u0000\u001f/', 'äßé€漢字😀\u2028\ufeff', 'xyzü']);
    const letters = [...alphabet];
    let text = '';
    for (let left = this.chance(0.05) ? this.below(400) : this.below(20); left > 0; left--) text += this.pick(letters);
    return text;
  }

  /** A name that is not in `taken` yet, and is then. */
  newText(taken: Set<string>): string {
    let text = this.text();
    while (taken.has(text)) text += `${this.below(10)}`;
    taken.add(text);
    return text;
  }

  uint64(): bigint {
    return this.pick([
      0n,
      1n,
      2n ** 53n - 1n,
      2n ** 53n,
      2n ** 53n + 1n,
      2n ** 63n - 1n,
      2n ** 63n,
      2n ** 64n - 1n,
      this.#bits(),
    ]);
  }

  int64(): bigint {
    return BigInt.asIntN(64, this.chance(0.3) ? this.uint64() : this.#bits() >> BigInt(this.below(64)));
  }

  #bits(): bigint {
    return (BigInt(this.below(2 ** 32)) << 32n) | BigInt(this.below(2 ** 32));
  }

  /** Finite, no whole number beyond 2^53, and not -0 (msgpackr writes that as the integer 0). */
  double(): number {
    return this.pick([0, 1, 0.1, -1.5, 1e300, 5e-324, this.below(1000), this.#next() * 10 ** (this.below(20) - 10)]);
  }

  bytes(): Uint8Array {
    return Uint8Array.from({ length: this.below(40) }, () => this.below(256));
  }

  /** Anything JSON can say. */
  value(depth: number): unknown {
    switch (this.below(depth > 0 ? 8 : 6)) {
      case 0:
        return null;
      case 1:
        return this.chance(0.5);
      case 2:
        return this.below(70_000) - 300;
      case 3:
        return this.int64();
      case 4:
        return this.double();
      case 5:
        return this.text();
      case 6:
        return Array.from({ length: this.below(20) }, () => this.value(depth - 1));
      default: {
        const taken = new Set<string>();
        // A letter first: JSON.parse would put keys that look like indexes in front.
        return new Map(
          Array.from({ length: this.below(20) }, () => [`k${this.newText(taken)}`, this.value(depth - 1)]),
        );
      }
    }
  }
}
