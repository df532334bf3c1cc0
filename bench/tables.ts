/** The results as text. */
import { LEVELS } from './pipeline.ts';
import type { SizeResult } from './size.ts';
import type { StageResult } from './stages.ts';

/** First column to the left, the others to the right. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('  ')
      .trimEnd();
  return [line(header), line(widths.map((width) => '─'.repeat(width))), ...rows.map(line)].join('\n');
}

/** Three digits that tell, with thousands in between. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export const mb = (bytes: number): string => short(bytes / 1e6);
export const percent = (share: number): string => `${short(share * 100)}%`;

export function stageTable(results: readonly StageResult[]): string {
  return formatTable(
    ['stage', 'raw MB', 'items', 'MB/s', 'quartiles', 'items/s', 'gc', 'samples'],
    results.map((one) => [
      one.name,
      mb(one.rawBytes),
      one.items.toLocaleString('en-US'),
      short(one.mbPerSecond.median),
      `${short(one.mbPerSecond.low)}–${short(one.mbPerSecond.high)}`,
      short(one.itemsPerSecond.median),
      percent(one.samples.gcShare),
      String(one.samples.count),
    ]),
  );
}

/** The same items as other protocols; stored at the hot level. */
export function formTable(results: readonly SizeResult[]): string {
  const header = ['source', 'raw MB', 'items', 'ratio', 'MB/s', 'quartiles', 'items/s', 'gc', 'exact'];
  const rows = results.flatMap(({ name, forms = [] }) =>
    forms.map((one) => [
      `${name} ${one.protocol}`,
      mb(one.rawBytes),
      one.items.toLocaleString('en-US'),
      short(one.rawBytes / one.storedBytes),
      short(one.encodeMBps.median),
      `${short(one.encodeMBps.low)}–${short(one.encodeMBps.high)}`,
      short(one.itemsPerSecond.median),
      percent(one.samples.gcShare),
      one.roundTripProblem === undefined ? 'yes' : 'NO',
    ]),
  );
  return formatTable(header, rows);
}

/** Ratios: raw bytes to stored bytes, larger is smaller. */
export function sizeTable(results: readonly SizeResult[]): string {
  return formatTable(
    [
      'source',
      'raw MB',
      'items',
      'B/item',
      ...LEVELS.filter((level) => level !== 'heavy'),
      'heavy',
      'cold plain',
      'cold packed',
      'gzip -6',
      'zstd -3',
      'zstd -19 long',
      'DuckDB',
      'vs -19',
      'encode MB/s',
      'items/s',
      'decode MB/s',
      'gc',
      'RSS MiB',
      'exact',
    ],
    results.map((one) => {
      const ratio = (bytes: number | null): string => (bytes === null ? '–' : short(one.rawBytes / bytes));
      return [
        one.name,
        `${mb(one.rawBytes)}${one.isCapped ? '*' : ''}`,
        one.items.toLocaleString('en-US'),
        short(one.storedBytes.heavy / one.items),
        ...LEVELS.filter((level) => level !== 'heavy').map((level) => ratio(one.storedBytes[level])),
        ratio(one.writtenHeavyBytes),
        ratio(one.coldBytes.plain),
        ratio(one.coldBytes.packed),
        ratio(one.baselines.gzip6),
        ratio(one.baselines.zstd3),
        ratio(one.baselines.zstd19Long),
        ratio(one.baselines.duckdbParquet),
        short(one.baselines.zstd19Long / one.storedBytes.heavy),
        short(one.encodeMBps),
        short(one.itemsPerSecond),
        short(one.decodeMBps),
        percent(one.samples.encode.gcShare),
        short(one.peakRssMiB),
        one.roundTripExact ? 'yes' : 'NO',
      ];
    }),
  );
}
