/**
 * Bundles the product into a folder that runs without its sources: `npm run build`, for the image. One file is loaded where there were
 * hundreds: a process starts in a third of the time and needs 15 MiB less. What has native parts or is loaded on demand (DuckDB, zstd, the cloud
 * SDKs) stays in node_modules. Tests run their processes from such a folder, too: what ships is what is tested.
 */
import { copyFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { rolldown } from 'rolldown';
import manifest from '../package.json' with { type: 'json' };

const PROJECT = join(import.meta.dirname, '..');
const EXTERNAL = [/^node:/, /^@duckdb\//, /^zstd-napi/, /^@aws-sdk\//, /^@smithy\//, /^@google-cloud\//, /^@azure\//];
const ENTRIES = {
  main: 'src/main.ts',
  'decode-worker': 'src/record/decode-worker.ts',
  'encode-worker': 'src/archive/encode-worker.ts',
};

/** Threads are started by the address of their file, which a bundler does not see: the names of the entries above. */
const threads = {
  name: 'threads',
  renderChunk: (code: string) => code.replaceAll(/\.\/((?:de|en)code-worker)\.ts/g, './$1.js'),
};

/** @param more further entries, name to path below the project's folder */
export async function build(folder: string, more: Record<string, string> = {}): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  const entries = Object.entries({ ...ENTRIES, ...more });
  const bundle = await rolldown({
    input: Object.fromEntries(entries.map(([name, path]) => [name, join(PROJECT, path)])),
    platform: 'node',
    external: EXTERNAL,
    plugins: [threads],
    logLevel: 'warn',
  });
  await bundle.write({ dir: folder, format: 'esm', entryFileNames: '[name].js', chunkFileNames: '[name]-[hash].js' });
  await bundle.close();
  await mkdir(join(folder, 'bin'));
  await copyFile(join(PROJECT, 'bin/reductrai'), join(folder, 'bin/reductrai'));
  const { name, version, license, type, engines } = manifest;
  await writeFile(join(folder, 'package.json'), `${JSON.stringify({ name, version, license, type, engines })}\n`);
}

if (import.meta.main) await build(join(PROJECT, 'dist'));
