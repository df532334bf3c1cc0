/**
 * `serve` with a wall clock that jumps and, where a real small disk is not to be had, a simulated one. SIGUSR2 has it read again how far its
 * clock is from this machine's, in ms, from the file TEST_CLOCK_FILE. TEST_DISK_BYTES: what the data folder can hold.
 */
import { readFileSync } from 'node:fs';
import { runServe } from '../../src/cli/serve.ts';
import { systemClock } from '../../src/core/clock.ts';
import { nodeFileSystem } from '../../src/core/file-system.ts';
import { smallFileSystem } from './small-file-system.ts';

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
const bytes = Number(process.env.TEST_DISK_BYTES ?? 0);
const fileSystem = bytes > 0 ? smallFileSystem(nodeFileSystem, process.env.DATA_DIR ?? '', bytes) : nodeFileSystem;
process.exitCode = await runServe([], { env: process.env, clock, fileSystem });
