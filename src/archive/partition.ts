/**
 * Where rows go. An item belongs to the hour of its own time; times outside [receive − 30 d, receive + 1 h] are kept, but under
 * the hour of receipt. A flush writes a bounded number of hours; the rows of all others share one `late` segment.
 */
import type { Signal } from '../core/envelope.ts';
import type { Tier } from '../store/commit-log.ts';
import { everyText } from '../store/segment-keys.ts';

export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;
const PAST_MS_MAX = 30 * DAY_MS;
const FUTURE_MS_MAX = HOUR_MS;

/** Hours since the epoch under which a row is filed. */
export function hourOf(timeMs: number, receivedAtMs: number): number {
  return Math.floor((isUsableTime(timeMs, receivedAtMs) ? timeMs : receivedAtMs) / HOUR_MS);
}

export function isUsableTime(timeMs: number, receivedAtMs: number): boolean {
  return timeMs >= receivedAtMs - PAST_MS_MAX && timeMs <= receivedAtMs + FUTURE_MS_MAX;
}

/**
 * The hours that get a segment of their own: the ones with most rows, at most `hoursMax`. All others are late. Ties fall to the
 * later hour, so that the same rows always give the same answer.
 */
export function ownHours(rowsByHour: ReadonlyMap<number, number>, hoursMax: number): Set<number> {
  const ranked = [...rowsByHour].sort((a, b) => b[1] - a[1] || b[0] - a[0]);
  return new Set(ranked.slice(0, hoursMax).map(([hour]) => hour));
}

/**
 * `<tenant>/<signal>/tier=hot/dt=YYYY-MM-DD/hour=HH/<replica>-<epoch>-<first>-<last>[-late][-doubt-<position>][-by-<writer>].parquet`. The writer is named
 * where it is not the journal's own: what the dead one had put under its own name, without a record, must not be in the way.
 */
export function segmentKey(parts: {
  tenant: string;
  signal: Signal;
  hour: number;
  replica: string;
  epoch: number;
  first: number;
  last: number;
  late: boolean;
  /** Position of the one envelope in it, which is in doubt. */
  doubt?: number | undefined;
  writer?: string | undefined;
}): string {
  const iso = new Date(parts.hour * HOUR_MS).toISOString();
  const range = `${pad(parts.first)}-${pad(parts.last)}`;
  const name = `${parts.replica}-${parts.epoch}-${range}${parts.late ? '-late' : ''}${parts.doubt === undefined ? '' : `-doubt-${parts.doubt}`}${parts.writer ? `-by-${parts.writer}` : ''}`;
  return `${parts.tenant}/${parts.signal}/tier=hot/dt=${iso.slice(0, 10)}/hour=${iso.slice(11, 13)}/${name}.parquet`;
}

/**
 * `<tenant>/<signal>/tier=<tier>/dt=YYYY-MM-DD[/hour=HH]/_merged-<epoch>-<number>.parquet`: of the commit record that makes it live.
 * The cold tier is filed by day. Roll-ups lie beside, in `<signal>-5m`.
 */
export function mergedKey(parts: {
  tenant: string;
  signal: Signal;
  tier: Tier;
  day: string;
  hour: string | undefined;
  epoch: number;
  number: number;
  /** Windows of a roll-up. */
  everyMs?: number | undefined;
}): string {
  const { tenant, signal, tier, day, hour, epoch, number, everyMs } = parts;
  const folder = hour === undefined ? `dt=${day}` : `dt=${day}/hour=${hour}`;
  return `${tenant}/${signal}${everyMs === undefined ? '' : `-${everyText(everyMs)}`}/tier=${tier}/${folder}/_merged-${epoch}-${pad(number)}.parquet`;
}

function pad(position: number): string {
  return String(position).padStart(12, '0');
}
