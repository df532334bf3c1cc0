/** `serve` on a file system that kills the process at the point named in TEST_KILL_AT. */
import { runServe } from '../../src/cli/serve.ts';
import { nodeFileSystem } from '../../src/core/file-system.ts';
import { killingFileSystem, parseKillSpec } from './killing-file-system.ts';

const spec = parseKillSpec(process.env.TEST_KILL_AT ?? '');
process.exitCode = await runServe([], { env: process.env, fileSystem: killingFileSystem(nodeFileSystem, spec) });
