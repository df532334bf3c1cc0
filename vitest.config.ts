import { defineConfig } from 'vitest/config';
import LongestFirst from './test/support/longest-first.ts';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    globalSetup: ['test/support/warm-up.ts'],
    maxWorkers: Number(process.env.TEST_WORKERS ?? 2),
    pool: 'forks',
    sequence: { sequencer: LongestFirst },
  },
});
