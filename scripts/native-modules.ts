/**
 * What a bundle does not hold: packages with native parts. Copied beside it as node_modules, with what they load themselves and nothing of
 * what they were compiled with. A package that the bundle imports and this file does not know is an error: it would be missing in the image.
 */
import { cpSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The bundler leaves these alone. */
export const NATIVE = [/^@duckdb\//, /^zstd-napi/];

const LICENSES = ['LICENSE', 'NOTICE'];

/** The files of a package that are needed, or all of them. */
const FILES: Readonly<Record<string, readonly string[] | 'all'>> = {
  '@duckdb/node-api': 'all',
  '@duckdb/node-bindings': 'all',
  '@duckdb/node-bindings-linux-x64': 'all',
  '@duckdb/node-bindings-linux-arm64': 'all',
  'detect-libc': 'all',
  // Only this of it is imported; what it depends on is for compiling it.
  'zstd-napi': ['package.json', 'binding.js', 'build/Release/binding.node', ...LICENSES],
};

interface Manifest {
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

/**
 * Packages to ship for what a bundle imports by name; `read` gives the manifest of one that is installed, else undefined (as those for
 * other platforms are).
 */
export function nativePackages(imported: Iterable<string>, read: (name: string) => Manifest | undefined): string[] {
  const found = new Set<string>();
  const waiting = [...imported].map(packageOf);
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (found.has(name)) continue;
    const manifest = read(name);
    if (!manifest) continue;
    const files = FILES[name];
    if (!files) throw new Error(`scripts/native-modules.ts does not know the package ${name}`);
    found.add(name);
    if (files !== 'all') continue;
    waiting.push(...Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies }));
  }
  return [...found].sort();
}

export function copyNative(name: string, project: string, folder: string): void {
  const from = join(project, 'node_modules', name);
  const to = join(folder, 'node_modules', name);
  const files = FILES[name];
  if (files === 'all') cpSync(from, to, { recursive: true });
  else for (const file of files!) cpSync(join(from, file), join(to, file));
}

/** `@scope/name/file.js` → `@scope/name`. */
function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

/** Reads the manifests of what is installed in a project. */
export function manifestsOf(project: string): (name: string) => Manifest | undefined {
  return (name) => {
    const file = join(project, 'node_modules', name, 'package.json');
    return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
  };
}
