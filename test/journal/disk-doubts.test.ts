import { expect, it } from 'vitest';
import { nodeFileSystem } from '../../src/core/file-system.ts';
import { openDiskJournal } from '../../src/journal/disk-journal.ts';
import type { Journal } from '../../src/journal/journal.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { createTestClock, diskOptions, envelopeOf } from './journal-support.ts';

const WINDOW_MS = 60_000;
const positionsOf = async (journal: Journal, first: number, last: number): Promise<number[]> =>
  (await journal.doubtful(first, last)).map(({ position }) => position);

it('tells what was not heard, over deaths and however old, and what is heard after that', async () => {
  const folder = await temporaryFolder();
  const clock = createTestClock();
  const open = () => openDiskJournal(diskOptions(nodeFileSystem, folder, { clock, retryWindowMs: WINDOW_MS }));
  let journal = await open();
  const archive = await journal.consumer('archive', 'start');
  for (let n = 1; n <= 6; n++) await journal.append(envelopeOf(`body ${n}`));
  journal.confirm(1);
  journal.confirm(3);
  expect(await positionsOf(journal, 1, 3)).toEqual([2]);
  await archive.commit(3);
  journal.confirm(2);
  expect(journal.heardLate()).toEqual([{ epoch: 7, position: 2 }]);
  expect(journal.heardLate()).toEqual([]);
  journal.confirm(4);
  await journal.close();

  // The process was away for longer than a sender waits: its retry may have gone elsewhere in time.
  clock.wallMs += WINDOW_MS * 2;
  journal = await open();
  expect(journal.unconfirmedAtOpen()).toEqual([]);
  expect(await positionsOf(journal, 4, 6)).toEqual([5, 6]);
  await (await journal.consumer('archive', 'start')).commit(6);
  expect(await positionsOf(journal, 4, 6)).toEqual([]);
  journal.confirm(6);
  expect(journal.heardLate()).toEqual([{ epoch: 7, position: 6 }]);
  await journal.close();
});
