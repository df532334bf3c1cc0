/** `serve` with a wall clock that jumps: SIGUSR2 has it read how far it is from this machine's, in ms, from the file TEST_CLOCK_FILE. */
import { readFileSync } from 'node:fs';
import { runServe } from '../../src/cli/serve.ts';
import { systemClock } from '../../src/core/clock.ts';

let offMs = 0;
const read = (): void => {
  try {
    offMs = Number(readFileSync(process.env.TEST_CLOCK_FILE ?? '', 'utf8'));
  } catch {
    offMs = 0;
  }
};
read();
process.on('SIGUSR2', read);
const clock = { ...systemClock, nowMs: () => systemClock.nowMs() + offMs };
process.exitCode = await runServe([], { env: process.env, clock });
