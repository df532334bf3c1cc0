/** What may be used in one place only, so that tests can stand in for time, chance and environment. */
import { expect, test } from 'vitest';
import { type SourceFile, sourceFiles, withoutComments } from './source-tree.ts';

interface Ban {
  pattern: RegExp;
  allowedIn: RegExp;
  rule: string;
}

const BANS: readonly Ban[] = [
  {
    pattern: /\bDate\.now\s*\(|\bnew Date\(\s*\)|\bperformance\.now\s*\(/g,
    allowedIn: /^src\/core\/clock\.ts$/,
    rule: 'time comes from a Clock that is passed in',
  },
  {
    pattern: /(?<![.\w])(setTimeout|setInterval)\s*\(|['"](node:)?timers(\/promises)?['"]/g,
    allowedIn: /^src\/core\/clock\.ts$/,
    rule: 'waiting goes through a Clock that is passed in',
  },
  {
    pattern: /\bMath\.random\s*\(|\brandom(Bytes|UUID|Int)\s*\(/g,
    allowedIn: /^src\/core\/random\.ts$/,
    rule: 'chance comes from a Random that is passed in',
  },
  {
    pattern: /\bprocess\.env\b|\{[^}]*\benv\b[^}]*\}\s*=\s*process\b/g,
    allowedIn: /^src\/(config\/.*|main\.ts)$/,
    rule: 'only config/ and main.ts read the environment',
  },
  { pattern: /\b(describe|test|it)\.only\b/g, allowedIn: /^$/, rule: '.only leaves the other tests out' },
];

const SKIP = /\b(?:describe|test|it)\.(?:skip|todo)\s*\(/g;

function lineOf(text: string, index: number): number {
  return text.slice(0, index).split('\n').length;
}

function violationsOf(files: readonly SourceFile[], bans: readonly Ban[]): string[] {
  return files.flatMap(({ path, code }) =>
    bans
      .filter(({ allowedIn }) => !allowedIn.test(path))
      .flatMap(({ pattern, rule }) =>
        [...code.matchAll(pattern)].map((match) => `${path}:${lineOf(code, match.index)} ${match[0]}: ${rule}`),
      ),
  );
}

/** A skip needs its reason in a comment on its line or the line before: `// skipped: …`. */
function skipsWithoutReason(files: readonly SourceFile[]): string[] {
  return files.flatMap(({ path, text, code }) =>
    [...code.matchAll(SKIP)].flatMap((match) => {
      const line = lineOf(code, match.index);
      const near = text
        .split('\n')
        .slice(Math.max(0, line - 2), line)
        .join('\n');
      return /\/\/ skipped: \S/.test(near)
        ? []
        : [`${path}:${line} skip without a reason ("// skipped: why" on its line or before)`];
    }),
  );
}

const tests = sourceFiles('test').filter(({ path }) => path !== 'test/tidy/bans.test.ts');

test('time, chance and environment are passed in', () => {
  const files = sourceFiles('src');
  expect(files.length).toBeGreaterThan(20);
  expect(violationsOf(files, BANS)).toEqual([]);
});

test('no test is left out without saying so', () => {
  expect(violationsOf(tests, BANS.slice(-1))).toEqual([]);
  expect(skipsWithoutReason(tests)).toEqual([]);
});

test('the checks find what they look for', () => {
  const file = (path: string, text: string): SourceFile => ({ path, text, code: withoutComments(text) });
  const found = (path: string, text: string) => violationsOf([file(path, text)], BANS).length;
  expect(found('src/intake/a.ts', 'const t = Date.now();')).toBe(1);
  expect(found('src/intake/a.ts', "// Date.now()\n/* setTimeout(x) */ const s = 'a//b'; clock.setTimeout(1);")).toBe(0);
  expect(found('src/intake/a.ts', 'setInterval(() => {}, 5); Math.random(); process.env.X;')).toBe(3);
  expect(found('src/core/clock.ts', 'performance.now(); setTimeout(a, 1);')).toBe(0);
  expect(found('src/main.ts', 'process.env')).toBe(0);
  expect(skipsWithoutReason([file('test/a.ts', "test.skip('x');")])).toHaveLength(1);
  expect(skipsWithoutReason([file('test/a.ts', "// skipped: no corpus here\ntest.skip('x');")])).toEqual([]);
});
