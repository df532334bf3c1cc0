import { describe, expect, it } from 'vitest';
import { MergedDictionary } from '../../src/archive/merged-dictionary.ts';
import { seededRandom } from '../../src/core/random.ts';

describe('a merged dictionary', () => {
  it.each([1, 2, 3])('gives equal bytes equal ids, wherever they come from (seed %i)', (seed) => {
    const random = seededRandom(seed);
    const pick = (count: number): number => Math.floor(random.next() * count);
    const known = new Map<string, number>();
    const dictionary = new MergedDictionary(pick(100));
    for (let source = 0; source < 30; source++) {
      // Of few letters, so that much comes up again, also right behind one another; long ones are sampled by the hash.
      const size = pick(20) === 0 ? 2000 : 200;
      const bytes = Uint8Array.from({ length: size }, () => 97 + pick(2));
      dictionary.readFrom(bytes);
      let start = 0;
      for (let i = 0; i < 200 && start <= size; i++) {
        const end = Math.min(size, start + pick(size > 200 && pick(3) === 0 ? 900 : 9));
        const text = Buffer.from(bytes.subarray(start, end)).toString('latin1');
        const id = dictionary.idAt(start, end);
        expect(id).toBe(known.get(text) ?? known.size);
        known.set(text, id);
        // The next one mostly begins where this ends.
        start = pick(4) === 0 ? pick(size) : end;
      }
    }
    expect(dictionary.size).toBe(known.size);
    const { offsets, bytes } = dictionary.finish();
    const entries = Array.from({ length: known.size }, (_, id) =>
      Buffer.from(bytes.subarray(offsets[id]!, offsets[id + 1]!)).toString('latin1'),
    );
    expect(entries).toEqual([...known.keys()]);
  });
});
