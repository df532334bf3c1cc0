/**
 * Misfortunes of a fleet; see chaos-run.ts. `npm run soak` is the same for an hour, or `CHAOS_SECONDS`; `CHAOS_SEEDS=1,2,3` for others.
 * `CHAOS_NETWORKS=1` puts each replica into a network namespace, where its line to the store is really cut (private-network.ts says what
 * that needs); without it the proxy before the store falls silent, which any machine can do.
 */
import { describe, test } from 'vitest';
import { findS3Server } from '../support/servers/s3-server.ts';
import { findProgram, HOW_TO_INSTALL } from '../support/servers/server-process.ts';
import { runChaos } from './chaos-run.ts';

const SECONDS = Number(process.env.CHAOS_SECONDS ?? 48);
/** Of which the first minute has most misfortunes: deaths, a lost disk and a full one, a replica cut off, a balancer killed and reloaded, a merge. */
const SEEDS = (process.env.CHAOS_SEEDS ?? '158').split(',').map(Number);
const isPrivate = process.env.CHAOS_NETWORKS === '1';
const missing = [findS3Server() ? [] : ['S3 server'], findProgram('haproxy') ? [] : ['HAProxy']].flat();
const reason = missing.length > 0 ? ` (no ${missing.join(', no ')}: ${HOW_TO_INSTALL})` : '';

describe('a fleet through misfortunes', () => {
  for (const seed of SEEDS) {
    test.skipIf(missing.length > 0)(
      `seed ${seed}, ${SECONDS} s: nothing is lost${reason}`,
      { timeout: (SECONDS + 600) * 1_000, retry: 0 },
      async () => {
        console.log(await runChaos({ seed, seconds: SECONDS, isPrivate }));
      },
    );
  }
});
