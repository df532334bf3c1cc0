/**
 * What ships, as CycloneDX: the packages of the lock file of which something is in the bundle, and those that it loads from node_modules (native
 * parts). Each says which of the two it is. `npm sbom` would list what is installed instead, most of which is in neither.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Shipped {
  /** Folders as the lock file names them: `node_modules/a`. */
  bundled: readonly string[];
  /** Names of packages. */
  native: readonly string[];
}

interface Locked {
  version: string;
  resolved?: string;
  integrity?: string;
  license?: string;
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

const NODE_MODULES = 'node_modules/';

/** `folder`: with package.json and package-lock.json. */
export function sbomOf(folder: string, { bundled, native }: Shipped): object {
  const { packages } = JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, Locked & { name?: string }>;
  };
  const own = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const paths = new Set([...bundled, ...native.map((name) => NODE_MODULES + name)]);
  const inBundle = new Set(bundled);
  const shipped = [...paths].sort().map((path) => {
    const locked = packages[path];
    if (!locked) throw new Error(`${path} ships, but is not in the lock file`);
    return [path, locked] as const;
  });
  const components = new Map(
    shipped.map(([path, locked]) => [purlOf(path, locked), componentOf(path, locked, inBundle.has(path))]),
  );
  const root = `pkg:npm/${own.name}@${own.version}`;
  const dependsOn = (path: string, { dependencies, optionalDependencies }: Locked): string[] =>
    Object.keys({ ...dependencies, ...optionalDependencies })
      .flatMap((name) => foundFrom(path, name, paths) ?? [])
      .map((found) => purlOf(found, packages[found]!));
  const edges = new Map([
    [root, dependsOn('', packages['']!)],
    ...shipped.map(([path, locked]) => [purlOf(path, locked), dependsOn(path, locked)] as const),
  ]);
  return {
    $schema: 'http://cyclonedx.org/schema/bom-1.5.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.5',
    version: 1,
    metadata: {
      component: {
        type: 'application',
        'bom-ref': root,
        name: own.name,
        version: own.version,
        purl: root,
        licenses: [{ license: { id: own.license } }],
      },
    },
    components: [...components.values()],
    dependencies: [...edges].map(([ref, to]) => ({ ref, dependsOn: [...new Set(to)].sort() })),
  };
}

const nameOf = (path: string): string => path.slice(path.lastIndexOf(NODE_MODULES) + NODE_MODULES.length);

function purlOf(path: string, { version }: Locked): string {
  return `pkg:npm/${nameOf(path).replace('@', '%40')}@${version}`;
}

function componentOf(path: string, locked: Locked, isBundled: boolean): object {
  const purl = purlOf(path, locked);
  const [algorithm, base64] = locked.integrity?.split(/-(.*)/s) ?? [];
  return {
    type: 'library',
    'bom-ref': purl,
    name: nameOf(path),
    version: locked.version,
    purl,
    ...(algorithm === 'sha512'
      ? { hashes: [{ alg: 'SHA-512', content: Buffer.from(base64!, 'base64').toString('hex') }] }
      : {}),
    ...(locked.license === undefined ? {} : { licenses: [licenseOf(locked.license)] }),
    properties: [{ name: 'reductrai:shipped', value: isBundled ? 'in the bundle' : 'in node_modules' }],
  };
}

/** One id, or an expression of several. */
function licenseOf(license: string): object {
  return / (OR|AND|WITH) /.test(license) ? { expression: license } : { license: { id: license } };
}

/** Where Node would find a package from there: in its own folder, or in one above it. */
function foundFrom(path: string, name: string, paths: ReadonlySet<string>): string | undefined {
  for (let from = path; ; ) {
    const candidate = `${from === '' ? '' : `${from}/`}${NODE_MODULES}${name}`;
    if (paths.has(candidate)) return candidate;
    if (from === '') return undefined;
    from = from.slice(0, Math.max(0, from.lastIndexOf(`/${NODE_MODULES}`)));
  }
}
