/** The floors of design.md §5: an import goes to a lower floor only, folders on one floor do not import each other, no circles. */
import { expect, test } from 'vitest';
import { type Import, importsOf, type SourceFile, sourceFiles } from './source-tree.ts';

const FLOORS: Record<string, number> = {
  core: 0,
  telemetry: 1,
  wire: 2,
  codec: 2,
  journal: 2,
  store: 2,
  upstream: 2,
  record: 3,
  intake: 4,
  archive: 4,
  forward: 4,
  query: 4,
  cli: 5,
  config: 5,
};
/** Files straight below src/ (main.ts, app.ts, what they share), and the two folders they join. */
const TOP = 5;

function folderOf(path: string): string {
  const parts = path.split('/');
  return parts.length > 2 ? parts[1]! : '';
}

function violationsOf(imports: readonly Import[]): string[] {
  const violations: string[] = [];
  for (const { from, to, line } of imports) {
    const source = folderOf(from);
    const target = folderOf(to);
    if (source === target) continue;
    const sourceFloor = source === '' ? TOP : FLOORS[source];
    const targetFloor = target === '' ? TOP : FLOORS[target];
    const place = `${from}:${line} imports ${to}`;
    if (sourceFloor === undefined || targetFloor === undefined) {
      violations.push(
        `${place}: folder ${sourceFloor === undefined ? source : target} has no floor; give it one (design.md §5)`,
      );
    } else if (!to.startsWith('src/')) {
      violations.push(`${place}: src/ imports from src/ only`);
    } else if (targetFloor > sourceFloor) {
      violations.push(
        `${place}: ${source} (floor ${sourceFloor}) may import lower floors only, ${target || 'src'} is on ${targetFloor}`,
      );
    } else if (targetFloor === sourceFloor && targetFloor !== TOP) {
      violations.push(
        `${place}: ${source} and ${target} are both on floor ${sourceFloor}, and folders of one floor do not import each other`,
      );
    }
  }
  return violations;
}

/** Each circle once, as the chain of its files. */
function circlesOf(imports: readonly Import[]): string[] {
  const targets = Map.groupBy(imports, ({ from }) => from);
  const circles: string[] = [];
  const done = new Set<string>();
  const trail: string[] = [];
  const visit = (file: string): void => {
    const at = trail.indexOf(file);
    if (at !== -1) {
      circles.push(`import circle: ${[...trail.slice(at), file].join(' → ')}`);
      return;
    }
    if (done.has(file)) return;
    trail.push(file);
    for (const { to } of targets.get(file) ?? []) visit(to);
    trail.pop();
    done.add(file);
  };
  for (const file of targets.keys()) visit(file);
  return circles;
}

const imports = sourceFiles('src').flatMap(importsOf);

test('imports go down the floors', () => {
  expect(imports.length).toBeGreaterThan(30);
  expect(violationsOf(imports)).toEqual([]);
});

test('no import circles', () => {
  // A worker is named by URL and imports nothing of the one who starts it at load time; it counts all the same.
  expect(circlesOf(imports)).toEqual([]);
});

test('the checks find what they look for', () => {
  const file = (path: string, code: string): SourceFile => ({ path, text: code, code });
  const of = (...files: SourceFile[]) => files.flatMap(importsOf);
  expect(violationsOf(of(file('src/core/a.ts', "import type { X } from '../wire/x.ts';")))[0]).toContain(
    'may import lower floors only',
  );
  expect(violationsOf(of(file('src/wire/a.ts', "export { x } from '../store/x.ts';")))[0]).toContain(
    'do not import each other',
  );
  expect(violationsOf(of(file('src/new/a.ts', "await import('../core/x.ts');")))[0]).toContain('has no floor');
  expect(violationsOf(of(file('src/wire/a.ts', "new URL('../intake/x.ts', import.meta.url)")))).toHaveLength(1);
  expect(
    violationsOf(
      of(file('src/intake/a.ts', "import '../record/x.ts';"), file('src/app.ts', "import { a } from './cli/x.ts';")),
    ),
  ).toEqual([]);
  const circle = of(file('src/core/a.ts', "import './b.ts';"), file('src/core/b.ts', "import './a.ts';"));
  expect(circlesOf(circle)).toEqual(['import circle: src/core/a.ts → src/core/b.ts → src/core/a.ts']);
});
