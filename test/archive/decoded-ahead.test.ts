import { describe, expect, it } from 'vitest';
import { type Decoded, DecodedAhead } from '../../src/archive/decoded-ahead.ts';
import type { JournalEntry } from '../../src/core/envelope.ts';

const ENTRIES = 50;
const entries = Array.from({ length: ENTRIES }, (_, i) => ({ position: i + 10 }) as JournalEntry);
const decodedOf = ({ position }: JournalEntry): Decoded => ({
  batch: { rowCount: position, columns: {} },
  reservedBytes: 1,
});

/** Decodes in no particular order. */
function openDecoder(fails: (position: number) => 'busy' | 'throws' | undefined = () => undefined) {
  const seen = { begun: [] as number[], now: 0, most: 0 };
  const decode = async (entry: JournalEntry): Promise<Decoded | undefined> => {
    seen.begun.push(entry.position);
    seen.now += 1;
    seen.most = Math.max(seen.most, seen.now);
    await new Promise((resolve) => setTimeout(resolve, (entry.position * 7) % 5));
    seen.now -= 1;
    const failure = fails(entry.position);
    if (failure === 'throws') throw new Error('the store is away');
    return failure ? undefined : decodedOf(entry);
  };
  return { seen, decode };
}

describe('envelopes decoded ahead', () => {
  it('come in their order, several at once, each decoded once', async () => {
    const { seen, decode } = openDecoder();
    const ahead = new DecodedAhead(entries, 1000, { isAtHand: () => false, decode });
    for (const entry of entries) expect(await ahead.next(entry)).toEqual(decodedOf(entry));
    expect(seen.begun).toEqual(entries.map(({ position }) => position));
    expect(seen.most).toBe(16);
    expect(await ahead.rest()).toEqual([]);
  });

  it('leave out what is at hand, and what is beyond the end', async () => {
    const { seen, decode } = openDecoder();
    const isAtHand = (position: number): boolean => position % 3 === 0;
    const ahead = new DecodedAhead(entries, 30, { isAtHand, decode });
    for (const entry of entries) if (entry.position <= 30 && !isAtHand(entry.position)) await ahead.next(entry);
    expect(seen.begun.every((position) => position <= 30 && !isAtHand(position))).toBe(true);
    // It was dropped meanwhile.
    expect(await ahead.next(entries[2]!)).toEqual(decodedOf(entries[2]!));
  });

  it('give back what was not asked for', async () => {
    const { decode } = openDecoder((position) => (position === 12 ? 'busy' : position === 13 ? 'throws' : undefined));
    const ahead = new DecodedAhead(entries, 1000, { isAtHand: () => false, decode });
    expect(await ahead.next(entries[0]!)).toEqual(decodedOf(entries[0]!));
    expect(await ahead.next(entries[1]!)).toEqual(decodedOf(entries[1]!));
    expect(await ahead.next(entries[2]!)).toBeUndefined();
    const rest = await ahead.rest();
    expect(rest.map(({ position }) => position)).toEqual([14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27]);
    expect(rest[0]).toMatchObject(decodedOf(entries[4]!));
  });

  it('fail where the one that is asked for does', async () => {
    const { decode } = openDecoder(() => 'throws');
    const ahead = new DecodedAhead(entries, 1000, { isAtHand: () => false, decode });
    await expect(ahead.next(entries[0]!)).rejects.toThrow('away');
    expect(await ahead.rest()).toEqual([]);
  });
});
