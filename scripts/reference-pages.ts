/**
 * The reference pages as they follow from the code: what `npm run docs` writes and test/tidy/docs.test.ts compares. Each names the
 * table it comes from.
 */
import { TIME_FORMS, writeTime } from '../src/codec/packed/time-forms.ts';
import { configurationPage } from '../src/config/help.ts';
import type { ColumnSchema } from '../src/core/columns.ts';
import { SIGNALS } from '../src/core/envelope.ts';
import { ERROR_CATALOGUE } from '../src/core/errors.ts';
import { ROLLUP_COLUMNS } from '../src/record/rollup-schema.ts';
import { JOURNAL_COLUMNS, SIGNAL_COLUMNS } from '../src/record/schema.ts';
import { createMetrics } from '../src/telemetry/metrics.ts';
import { capacityPage } from './capacity-page.ts';

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
const generatedFrom = (source: string): string => `<!-- Generated from ${source} by \`npm run docs\`. Do not edit. -->`;

function errorsPage(): string {
  const rows = Object.entries(ERROR_CATALOGUE).map(
    ([code, { retryable, text }]) => `| \`${code}\` | ${retryable ? 'yes' : 'no'} | ${cell(text)} |`,
  );
  return `${['# Errors', '', generatedFrom('src/core/errors.ts'), '', 'Codes that logs, answers and exit messages carry.', '', '| code | worth retrying | meaning |', '|---|---|---|', ...rows].join('\n')}\n`;
}

async function metricsPage(): Promise<string> {
  const { registry } = createMetrics();
  // The registry's public form leaves the label names out; the registered object has them.
  const rows = (await registry.getMetricsAsJSON()).map(({ name, help, type }) => {
    const metric = registry.getSingleMetric(name) as unknown as { labelNames?: string[] } | undefined;
    const labels = (metric?.labelNames ?? []).map((label) => `\`${label}\``).join(', ');
    return `| \`${name}\` | ${String(type)} | ${labels} | ${cell(help)} |`;
  });
  return `${['# Metrics', '', generatedFrom('src/telemetry/metrics.ts'), '', 'What `/metrics` shows, in the Prometheus text format.', '', '| name | type | labels | meaning |', '|---|---|---|---|', ...rows].join('\n')}\n`;
}

function columnTable(columns: readonly ColumnSchema[]): string[] {
  const kindOf = ({ kind, unsigned, json }: ColumnSchema): string =>
    `${kind}${unsigned ? ', unsigned' : ''}${json ? ', JSON' : ''}`;
  return [
    '| column | kind | null | meaning |',
    '|---|---|---|---|',
    ...columns.map(
      (column) =>
        `| \`${column.name}\` | ${kindOf(column)} | ${column.nullable ? 'yes' : 'no'} | ${cell(column.help)} |`,
    ),
  ];
}

function columnsPart(): string {
  const lines = ['Added by the archive to every row:', '', ...columnTable(JOURNAL_COLUMNS)];
  for (const signal of SIGNALS) lines.push('', `### \`${signal}\``, '', ...columnTable(SIGNAL_COLUMNS[signal]));
  lines.push('', '### Roll-ups of metrics (`metrics-5m`, …)', '', 'Without the columns that the archive adds.', '');
  lines.push(...columnTable(ROLLUP_COLUMNS));
  return lines.join('\n');
}

const COLUMNS_BEGIN = '<!-- columns: generated from src/record/schema.ts by `npm run docs`; do not edit -->';
const COLUMNS_END = '<!-- end of columns -->';

/** The page is written by hand but for its column tables, which stand between two marks (added at the end where they lack). */
export function segmentsPage(current: string | undefined): string {
  const part = `${COLUMNS_BEGIN}\n\n${columnsPart()}\n\n${COLUMNS_END}`;
  const page = withTimeForms(current ?? '# Segments\n');
  const begin = page.indexOf(COLUMNS_BEGIN);
  const end = page.indexOf(COLUMNS_END);
  if (begin === -1 || end < begin) return `${page.trimEnd()}\n\n## Columns\n\n${part}\n`;
  return page.slice(0, begin) + part + page.slice(end + COLUMNS_END.length);
}

const FORMS_BEGIN = '<!-- time-forms: generated from src/codec/packed/time-forms.ts by `npm run docs`; do not edit -->';
const FORMS_END = '<!-- end of time-forms -->';
const EXAMPLE_MS = Date.UTC(2026, 8, 3, 7, 5, 9, 42);

/** The table of the forms that times have in templates, where the page has its marks. */
function withTimeForms(page: string): string {
  const begin = page.indexOf(FORMS_BEGIN);
  const end = page.indexOf(FORMS_END);
  if (begin === -1 || end < begin) return page;
  const rows = TIME_FORMS.map(
    ({ letter, strftime }) => `| \`${letter}\` | \`${writeTime(letter, EXAMPLE_MS)}\` | \`${strftime}\` |`,
  );
  const table = ['| form | example | strftime |', '|---|---|---|', ...rows].join('\n');
  return `${page.slice(0, begin)}${FORMS_BEGIN}\n\n${table}\n\n${page.slice(end)}`;
}

export interface ReferencePage {
  /** Below the project's root. */
  path: string;
  /** The page as it must be, given what is there now. */
  content: (current: string | undefined) => string | Promise<string>;
}

export const REFERENCE_PAGES: readonly ReferencePage[] = [
  { path: 'docs/reference/configuration.md', content: configurationPage },
  { path: 'docs/reference/errors.md', content: errorsPage },
  { path: 'docs/reference/metrics.md', content: metricsPage },
  { path: 'docs/formats/segments.md', content: segmentsPage },
  { path: 'docs/capacity-planning.md', content: capacityPage },
];
