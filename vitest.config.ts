import { defineConfig } from 'vitest/config';
import LongestFirst from './test/support/longest-first.ts';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    setupFiles: ['test/support/leftovers.ts'],
    globalSetup: ['test/support/warm-up.ts'],
    maxWorkers: Number(process.env.TEST_WORKERS ?? 2),
    // Once more where a machine stood still for longer than a test allows for. Not for tests of loss: those say `retry: 0` themselves.
    retry: 1,
    pool: 'forks',
    // Files share a process: loading everything anew for each of them took a fifth of the time. No test changes what others see.
    isolate: false,
    sequence: { sequencer: LongestFirst },
  },
});
