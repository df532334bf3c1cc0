/** What the keys of segments tell; they are made in archive/partition.ts. */
import { SIGNALS } from '../core/envelope.ts';
import type { SegmentEntry, Tier } from './commit-log.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const SEGMENT_KEY = /^[^/]+\/(metrics(?:-\d+[smhd])?|logs|traces|events)\/tier=(hot|warm|cold)\/.+\.parquet$/;

/** `5m`, `1h`; in seconds where nothing larger is whole. */
export function everyText(everyMs: number): string {
  if (everyMs % DAY_MS === 0) return `${everyMs / DAY_MS}d`;
  if (everyMs % HOUR_MS === 0) return `${everyMs / HOUR_MS}h`;
  return everyMs % MINUTE_MS === 0 ? `${everyMs / MINUTE_MS}m` : `${everyMs / 1000}s`;
}

/** For people: `metrics`, and `metrics 5m` of roll-ups. */
export function contentOf({ signal, rollup }: Pick<SegmentEntry, 'signal' | 'rollup'>): string {
  return rollup ? `${signal} ${everyText(rollup.everyMs)}` : signal;
}

/** Segments never change once they are there. */
export function isSegmentKey(key: string): boolean {
  return tierOfKey(key) !== undefined;
}

/** Undefined for what is no segment. */
export function tierOfKey(key: string): Tier | undefined {
  return SEGMENT_KEY.exec(key)?.[2] as Tier | undefined;
}

/** Whether keys of segments of any tier may begin so. */
export function mayHoldSegments(prefix: string): boolean {
  const [, signal, ...rest] = prefix.split('/');
  if (signal === undefined) return true;
  if (/^metrics-/.test(signal)) return true;
  return SIGNALS.some((name) => (rest.length > 0 ? name === signal : name.startsWith(signal)));
}
