/**
 * Bundles the product into a folder that runs without its sources: `npm run build`, for the image. A few files are loaded where there were
 * hundreds: a process starts in a third of the time and needs 15 MiB less. What is loaded on demand (the cloud SDKs, the query engine) is in files
 * of its own. What has native parts (DuckDB, zstd) stays in node_modules. Tests run their processes from such a folder, too: what ships is
 * what is tested.
 */
import { copyFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { isBuiltin } from 'node:module';
import { join } from 'node:path';
import { rolldown } from 'rolldown';
import manifest from '../package.json' with { type: 'json' };
import { licensesOf } from './licenses.ts';
import { copyNative, manifestsOf, NATIVE, nativePackages } from './native-modules.ts';
import { sbomOf } from './sbom.ts';

const PROJECT = join(import.meta.dirname, '..');
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

export interface Built {
  /** Folders of the packages of which something is in the bundle, as the lock file names them. */
  bundled: string[];
  /** Those that it loads from node_modules. */
  native: string[];
}

/** @param more further entries, name to path below the project's folder */
export async function build(folder: string, more: Record<string, string> = {}): Promise<Built> {
  await rm(folder, { recursive: true, force: true });
  const entries = Object.entries({ ...ENTRIES, ...more });
  const bundle = await rolldown({
    input: Object.fromEntries(entries.map(([name, path]) => [name, join(PROJECT, path)])),
    platform: 'node',
    external: [/^node:/, ...NATIVE],
    plugins: [threads],
    logLevel: 'warn',
  });
  const { output } = await bundle.write({
    dir: folder,
    format: 'esm',
    entryFileNames: '[name].js',
    chunkFileNames: '[name]-[hash].js',
  });
  await bundle.close();
  await mkdir(join(folder, 'bin'));
  await copyFile(join(PROJECT, 'bin/reductrai'), join(folder, 'bin/reductrai'));
  const { name, version, license, type, engines } = manifest;
  await writeFile(join(folder, 'package.json'), `${JSON.stringify({ name, version, license, type, engines })}\n`);
  const chunks = output.filter((one) => one.type === 'chunk');
  const files = new Set(chunks.map(({ fileName }) => fileName));
  const imported = chunks
    .flatMap(({ imports, dynamicImports }) => [...imports, ...dynamicImports])
    .filter((one) => !files.has(one) && !isBuiltin(one));
  return {
    bundled: [
      ...new Set(chunks.flatMap(({ moduleIds }) => moduleIds.flatMap((id) => packageFolderOf(id) ?? []))),
    ].sort(),
    native: nativePackages(imported, manifestsOf(PROJECT)),
  };
}

/** `…/node_modules/a/lib/b.js` → `node_modules/a`. */
function packageFolderOf(module: string): string | undefined {
  const path = module.startsWith(`${PROJECT}/`) ? module.slice(PROJECT.length + 1) : '';
  return /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0];
}

/** Completes it into what the image has: with its node_modules, the list of its parts, and their licences. */
export async function pack(folder: string, { bundled, native }: Built): Promise<void> {
  for (const name of native) copyNative(name, PROJECT, folder);
  const shipped = [...bundled, ...native.map((name) => `node_modules/${name}`)];
  await writeFile(join(folder, 'sbom.cdx.json'), `${JSON.stringify(sbomOf(PROJECT, { bundled, native }), null, 2)}\n`);
  await writeFile(join(folder, 'licenses.txt'), licensesOf(PROJECT, shipped));
}

if (import.meta.main) {
  const folder = join(PROJECT, 'dist');
  await pack(folder, await build(folder));
}
