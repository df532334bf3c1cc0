/** Misfortunes of a fleet; see chaos-run.ts. `npm run soak` is the same for an hour, or `CHAOS_SECONDS`; `CHAOS_SEEDS=1,2,3` for others. */
import { describe, test } from 'vitest';
import { findS3Server } from '../support/servers/s3-server.ts';
import { HOW_TO_INSTALL } from '../support/servers/server-process.ts';
import { runChaos } from './chaos-run.ts';

const SECONDS = Number(process.env.CHAOS_SECONDS ?? 60);
const SEEDS = (process.env.CHAOS_SEEDS ?? '1').split(',').map(Number);
const hasServer = findS3Server() !== undefined;

describe('a fleet through misfortunes', () => {
  for (const seed of SEEDS) {
    test.skipIf(!hasServer)(
      `seed ${seed}, ${SECONDS} s: nothing is lost${hasServer ? '' : ` (no server: ${HOW_TO_INSTALL})`}`,
      { timeout: (SECONDS + 600) * 1_000, retry: 0 },
      async () => {
        console.log(await runChaos({ seed, seconds: SECONDS }));
      },
    );
  }
});
