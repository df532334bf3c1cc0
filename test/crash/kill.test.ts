/** Kills at random moments and at every named point, with the archive in a local folder; with those of kill-stores.test.ts more than a hundred; see kill-run.ts. */
import { test } from 'vitest';
import { KILL_POINTS } from '../support/killing-file-system.ts';
import { runKills } from './kill-run.ts';

const KILLS = Number(process.env.KILLS ?? 84);

test(`nothing is lost or doubled over ${KILLS} kills`, { timeout: 1_800_000 }, async () => {
  console.log(await runKills({ kills: KILLS, points: KILL_POINTS }));
});
