/**
 * Kills at random moments and at every named point, with the archive in a local folder: with those of kill-stores.test.ts more than a hundred
 * where a start takes a second or two (it tells how many there was time for); see kill-run.ts. It runs last, for as long as CI has.
 */
import { test } from 'vitest';
import { KILL_POINTS } from '../support/killing-file-system.ts';
import { runKills } from './kill-run.ts';

const KILLS = Number(process.env.KILLS ?? 96);
const SECONDS_MIN = 60;
const SECONDS_MAX = Number(process.env.KILLS_SECONDS_MAX ?? 300);
/** When CI has to come to an end, in seconds since the epoch. */
const UNTIL_S = Number(process.env.KILLS_UNTIL_S ?? Number.POSITIVE_INFINITY);

test(`nothing is lost or doubled over ${KILLS} kills, or as many as there is time for`, {
  timeout: 1_800_000,
  retry: 0,
}, async () => {
  const secondsMax = Math.min(SECONDS_MAX, Math.max(SECONDS_MIN, UNTIL_S - Date.now() / 1000));
  console.log(await runKills({ kills: KILLS, secondsMax, points: KILL_POINTS }));
});
