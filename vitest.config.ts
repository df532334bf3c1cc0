import { existsSync } from 'node:fs';
import { configDefaults, defineConfig } from 'vitest/config';
import LongestFirst from './test/support/longest-first.ts';

/** Compilers and linters of other people, half a GB of them: CI installs them, and says so where it does not. */
const hasDeployTools =
  process.env.DEPLOY_TOOLS_INSTALLING !== undefined ||
  existsSync(process.env.REDUCTRAI_DEPLOY_TOOLS ?? '.cache/deploy-tools');
if (!hasDeployTools) console.log('test/deploy is left out: its tools are not here (test/deploy/tools/install.sh)');

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: [...configDefaults.exclude, ...(hasDeployTools ? [] : ['test/deploy/**'])],
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
