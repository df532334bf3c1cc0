/** Which envelopes of an earlier life in the store may come back, because nobody knows that their answers were heard. */
import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import type { JournalIdentity } from '../../src/core/envelope.ts';
import { seededRandom } from '../../src/core/random.ts';
import { createSealer } from '../../src/core/sealer.ts';
import { chunkKey, decodeChunk, encodeChunk, encodeFence } from '../../src/journal/chunk.ts';
import { encodeFrame } from '../../src/journal/frame.ts';
import { openStoreJournal } from '../../src/journal/store-journal.ts';
import { unheardOf } from '../../src/journal/unheard.ts';
import { createMemoryStore } from '../../src/store/memory-store.ts';
import { envelopeOf, storeJournalOptions } from './journal-support.ts';

const sealer = createSealer([new Uint8Array(32).fill(7)], seededRandom(5));
const LIFE: JournalIdentity = { replica: 'a', epoch: 1 };

function open(store = createMemoryStore({ clock: systemClock })) {
  return { store, journal: openStoreJournal(storeJournalOptions({ store, identity: LIFE, sealer })) };
}

async function appended(journal: Awaited<ReturnType<typeof openStoreJournal>>, count: number): Promise<number[]> {
  const results = await Promise.all(Array.from({ length: count }, (_, n) => journal.append(envelopeOf(`body ${n}`))));
  return results.map((result) => (result.ok ? result.position : Number.NaN));
}

test('confirmed by a later chunk: heard; the rest is not', async () => {
  const { store, journal: opening } = open();
  const journal = await opening;
  const [one, two, three] = await appended(journal, 3);
  journal.confirm(one!);
  journal.confirm(three!);
  const [four] = await appended(journal, 1);
  // The answer to the fourth left, but no chunk came after it.
  journal.confirm(four!);
  const unheard = await unheardOf(store, [LIFE], 0);
  const bodies = await journal.read(1, { entriesMax: 10, bytesMax: 1 << 20 });
  const hashOf = (position: number) => bodies.find((entry) => entry.position === position)!.head.bodyHash;
  expect(unheard.map(({ bodyHash }) => bodyHash)).toEqual([hashOf(two!), hashOf(four!)]);
  expect(unheard.map(({ position, epoch }) => [position, epoch])).toEqual([
    [two, 1],
    [four, 1],
  ]);
  await journal.close();
});

test('what a later life has heard of an earlier one is told by its chunks', async () => {
  const store = createMemoryStore({ clock: systemClock });
  const [one, two, three] = [envelopeOf('1'), envelopeOf('2'), envelopeOf('3')];
  const frames = [one, two].map(({ head, body }) => encodeFrame(head, body));
  await store.put(chunkKey(LIFE, 1), encodeChunk({ mark: 1, epoch: 1, first: 1 }, frames));
  const later = { ...LIFE, epoch: 2 };
  const chunk = encodeChunk({ mark: 2, epoch: 2, first: 1 }, [encodeFrame(three!.head, three!.body)], [[2, 2, 1]]);
  await store.put(chunkKey(later, 1), chunk);
  const unheard = await unheardOf(store, [later, LIFE], 0);
  expect(unheard.map(({ position, epoch }) => [epoch, position])).toEqual([
    [1, 1],
    [2, 1],
  ]);
});

test('what no sender waits for any more is left out, and so is a fence', async () => {
  const { store, journal: opening } = open();
  await appended(await opening, 2);
  expect(await unheardOf(store, [LIFE], Date.now() + 1000)).toEqual([]);
  expect(await unheardOf(store, [LIFE], 0)).toHaveLength(2);
  await store.put(chunkKey(LIFE, 999), encodeFence({ replica: 'b', epoch: 1, atMs: 0 }));
  expect(await unheardOf(store, [LIFE], 0)).toHaveLength(2);
  expect(await unheardOf(store, [{ replica: 'nobody', epoch: 1 }], 0)).toEqual([]);
});

test('what was heard rests behind the frames; damage there loses no frame', () => {
  const { head, body } = envelopeOf('x');
  const bytes = encodeChunk(
    { mark: 1, epoch: 1, first: 10 },
    [encodeFrame(head, body)],
    [
      [1, 4],
      [9, 9],
    ],
  );
  expect(decodeChunk(bytes, sealer)).toMatchObject({
    heard: [
      [1, 4],
      [9, 9],
    ],
    damagedBytes: 0,
  });
  for (const cut of [1, 5, 12]) {
    const chunk = decodeChunk(bytes.slice(0, bytes.byteLength - cut), sealer)!;
    expect(chunk.entries).toHaveLength(1);
    expect(chunk.heard).toEqual([]);
    expect(chunk.damagedBytes).toBeGreaterThan(0);
  }
  const flipped = Uint8Array.from(bytes);
  flipped[bytes.byteLength - 6]! ^= 1;
  expect(decodeChunk(flipped, sealer)!.heard).toEqual([]);
});
