/**
 * What the image is made of, as CycloneDX: `node scripts/sbom.ts [FOLDER]` lists the packages of the lock file that lie in FOLDER's
 * node_modules and are not for development only. Of `npm sbom --omit dev` the package `yaml` was missing, because development needs it, too.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

interface Locked {
  version: string;
  resolved?: string;
  integrity?: string;
  license?: string;
  dev?: boolean;
  devOptional?: boolean;
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

const NODE_MODULES = 'node_modules/';

export function sbomOf(folder: string): object {
  const { packages } = JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, Locked & { name?: string }>;
  };
  const own = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const shipped = Object.entries(packages).filter(
    ([path, { dev, devOptional }]) => path !== '' && !dev && !devOptional && existsSync(join(folder, path)),
  );
  const paths = new Set(shipped.map(([path]) => path));
  const components = new Map(shipped.map(([path, locked]) => [purlOf(path, locked), componentOf(path, locked)]));
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

function componentOf(path: string, locked: Locked): object {
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

if (import.meta.main) process.stdout.write(`${JSON.stringify(sbomOf(process.argv[2] ?? '.'), null, 2)}\n`);
