/** Kills at random moments and at every named point, with the archive in a local folder; with those of kill-stores.test.ts more than a hundred; see kill-run.ts. */
import { test } from 'vitest';
import { KILL_POINTS } from '../support/killing-file-system.ts';
import { runKills } from './kill-run.ts';

const KILLS = Number(process.env.KILLS ?? 84);
const SECONDS_MAX = Number(process.env.KILLS_SECONDS_MAX ?? 240);

test(`nothing is lost or doubled over ${KILLS} kills, or as many as ${SECONDS_MAX} s have room for`, {
  timeout: 1_800_000,
  retry: 0,
}, async () => {
  console.log(await runKills({ kills: KILLS, secondsMax: SECONDS_MAX, points: KILL_POINTS }));
});
