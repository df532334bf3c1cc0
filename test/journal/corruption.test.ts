/** Damage anywhere in the files of a journal: it opens, and every entry whose own bytes are intact reads back. */
import { describe, expect, it } from 'vitest';
import type { FileSystem } from '../../src/core/file-system.ts';
import { type Random, seededRandom } from '../../src/core/random.ts';
import { openDiskJournal } from '../../src/journal/disk-journal.ts';
import { decodeFrame, encodeFrame, FILE_HEADER_BYTES, stampFrame } from '../../src/journal/frame.ts';
import { createSimulatedDisk, type SimulatedDisk } from '../support/simulated-disk.ts';
import { diskOptions, envelopeOf, randomBody } from './journal-support.ts';

const FOLDER = '/data/journal/replica-a';
const EVERYTHING = { entriesMax: 10_000, bytesMax: 1 << 30 };
const SEEDS = 120;

interface Written {
  position: number;
  body: Uint8Array;
  path: string;
  from: number;
  to: number;
}

/** Several files, written by two processes; with where each frame lies, found by walking intact files. */
async function writeJournal(disk: SimulatedDisk, random: Random): Promise<Written[]> {
  const bodies: Uint8Array[] = [];
  let fileSystem = disk.fileSystem;
  for (let round = 0; round < 2; round += 1) {
    const journal = await openDiskJournal(diskOptions(fileSystem, FOLDER, { random, fileBytesMax: 6000 }));
    const count = 1 + Math.floor(random.next() * 12);
    for (let index = 0; index < count; index += 1) {
      const body = randomBody(random, random.next() < 0.1 ? 20_000 : 900);
      bodies.push(body);
      expect(await journal.append(envelopeOf(body))).toEqual({ ok: true, position: bodies.length });
    }
    await journal.close();
    disk.crash('lose');
    fileSystem = disk.reopen();
  }
  const written: Written[] = [];
  for (const path of journalFiles(disk)) {
    const content = Buffer.from(disk.contentOf(path)!);
    for (let from = FILE_HEADER_BYTES; from < content.byteLength; ) {
      const frame = decodeFrame(content, from, content.readUInt32LE(12))!;
      const to = from + frame.totalBytes;
      written.push({ position: frame.position, body: bodies[frame.position - 1]!, path, from, to });
      from = to;
    }
  }
  expect(written).toHaveLength(bodies.length);
  return written;
}

function journalFiles(disk: SimulatedDisk): string[] {
  return disk.files().filter((path) => path.endsWith('.journal'));
}

async function expectIntact(fileSystem: FileSystem, intact: Written[], random: Random): Promise<void> {
  for (let opening = 0; opening < 2; opening += 1) {
    const journal = await openDiskJournal(diskOptions(fileSystem, FOLDER, { random, recentBytesMax: 0 }));
    const found = new Map((await journal.read(1, EVERYTHING)).map((entry) => [entry.position, entry]));
    for (const { position, body } of intact) {
      expect(found.has(position), `position ${position} is there`).toBe(true);
      expect(Buffer.from(body).equals(found.get(position)!.body)).toBe(true);
    }
    const end = journal.usage().end;
    const result = await journal.append(envelopeOf(`after ${opening}`));
    expect(result).toEqual({ ok: true, position: end + 1 });
    const positions = (await journal.read(1, EVERYTHING)).map((entry) => entry.position);
    expect(positions).toEqual([...new Set(positions)].sort((a, b) => a - b));
    expect(positions.at(-1)).toBe(end + 1);
    expect(journal.backlog(0).entries).toBe(positions.length);
    await journal.close();
  }
}

describe('journal corruption', () => {
  it(`reads what is intact after bytes were flipped anywhere (${SEEDS} seeds)`, async () => {
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const random = seededRandom(seed);
      const disk = createSimulatedDisk(random);
      const written = await writeJournal(disk, random);
      const files = journalFiles(disk);
      const damaged = new Set<Written>();
      const flips = 1 + Math.floor(random.next() * 4);
      for (let flip = 0; flip < flips; flip += 1) {
        const path = files[Math.floor(random.next() * files.length)]!;
        const content = disk.contentOf(path)!;
        const offset = Math.floor(random.next() * content.byteLength);
        const length = Math.min(content.byteLength - offset, 1 + Math.floor(random.next() * 40));
        disk.damage(path, offset, random.bytes(length));
        for (const frame of written) {
          if (frame.path === path && frame.from < offset + length && frame.to > offset) damaged.add(frame);
        }
      }
      const intact = written.filter((frame) => !damaged.has(frame));
      await expectIntact(disk.fileSystem, intact, random).catch((cause) => {
        throw new Error(`seed ${seed}`, { cause });
      });
    }
  });

  it(`reads what is left after files were cut anywhere (${SEEDS} seeds)`, async () => {
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const random = seededRandom(seed + 10_000);
      const disk = createSimulatedDisk(random);
      const written = await writeJournal(disk, random);
      const files = journalFiles(disk);
      const path = files[Math.floor(random.next() * files.length)]!;
      const cut = Math.floor(random.next() * (disk.contentOf(path)!.byteLength + 1));
      const file = await disk.fileSystem.open(path, 'write');
      await file.truncate(cut);
      await file.close();
      const intact = written.filter((frame) => frame.path !== path || frame.to <= cut);
      await expectIntact(disk.fileSystem, intact, random).catch((cause) => {
        throw new Error(`seed ${seed}`, { cause });
      });
    }
  });

  it('opens whatever its small files hold', async () => {
    for (let seed = 1; seed <= 100; seed += 1) {
      const random = seededRandom(seed + 20_000);
      const disk = createSimulatedDisk(random);
      const journal = await openDiskJournal(diskOptions(disk.fileSystem, FOLDER, { random }));
      const consumer = await journal.consumer('archive', 'start');
      for (let index = 0; index < 4; index += 1) await journal.append(envelopeOf(`body ${index}`));
      await consumer.commit(1, { a: 1 });
      await consumer.commit(2, { a: 2 });
      journal.confirm(1);
      await journal.close();
      const others = disk.files().filter((path) => !path.endsWith('.journal') && disk.contentOf(path)!.byteLength > 0);
      const path = others[Math.floor(random.next() * others.length)]!;
      const size = disk.contentOf(path)!.byteLength;
      disk.damage(path, Math.floor(random.next() * size), random.bytes(1 + Math.floor(random.next() * 10)));
      const again = await openDiskJournal(
        diskOptions(disk.fileSystem, FOLDER, { random, newEpoch: async () => 8 }),
      ).catch((cause) => {
        throw new Error(`seed ${seed} ${path}`, { cause });
      });
      expect((await again.read(1, EVERYTHING)).map(({ position }) => position)).toEqual([1, 2, 3, 4]);
      expect(again.identity.epoch).toBe(7);
      const { state } = await again.consumer('archive', 'end');
      expect([0, 1, 2]).toContain(state.position);
      await again.close();
    }
  });

  it('is not taken in by a body that looks like a frame', async () => {
    const random = seededRandom(77);
    const disk = createSimulatedDisk(random);
    const journal = await openDiskJournal(diskOptions(disk.fileSystem, FOLDER, { random }));
    const forged = encodeFrame(envelopeOf('forged').head, Buffer.from('forged'));
    // A sender does not know the mark; every other byte is right.
    stampFrame(forged, 0x01020304, 2);
    await journal.append(envelopeOf(Buffer.concat([forged.front, forged.front])));
    await journal.append(envelopeOf('true'));
    await journal.close();
    const [path] = journalFiles(disk);
    disk.damage(path!, FILE_HEADER_BYTES + 8, Buffer.from([1]));
    const again = await openDiskJournal(diskOptions(disk.fileSystem, FOLDER, { random }));
    expect((await again.read(1, EVERYTHING)).map((entry) => Buffer.from(entry.body).toString())).toEqual(['true']);
    await again.close();
  });
});
