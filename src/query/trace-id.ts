/**
 * The id of a trace as people have it at hand, and in which forms it rests: of spans as the low 64 bits, with the high ones beside where the tracer told them; of
 * logs as the text that the application wrote.
 */
import type { Signal } from '../core/envelope.ts';
import { textLiteral } from './duckdb.ts';

export interface TraceId {
  /** More than one where sixteen digits may be decimal or hex. */
  readings: readonly Reading[];
}

interface Reading {
  low: bigint;
  /** 16 hex digits; undefined where they are zero, or not known. */
  high: string | undefined;
}

const LOW_MAX = 2n ** 64n - 1n;
const DECIMAL = /^\d{1,20}$/;
const HEX = /^(?:0x)?([0-9a-f]{16})?([0-9a-f]{16})$/;
const ZEROS = '0'.repeat(16);

/** Decimal (64 bits), or 16 or 32 hex digits. Undefined where it is neither. */
export function traceIdOf(text: string): TraceId | undefined {
  const readings: Reading[] = [];
  if (DECIMAL.test(text) && BigInt(text) <= LOW_MAX) readings.push({ low: BigInt(text), high: undefined });
  const hex = HEX.exec(text.toLowerCase());
  if (hex) readings.push({ low: BigInt(`0x${hex[2]}`), high: hex[1] === ZEROS ? undefined : hex[1] });
  return readings.length > 0 ? { readings } : undefined;
}

/** What the column `trace_id` of spans has. */
export function spanTraceIds({ readings }: TraceId): bigint[] {
  return readings.map(({ low }) => low);
}

/** What the column `trace_id` of logs may have. */
export function logTraceIds({ readings }: TraceId): string[] {
  const forms = readings.flatMap(({ low, high }) => {
    const digits = low.toString(16).padStart(16, '0');
    return [low.toString(), digits, `${high ?? ZEROS}${digits}`];
  });
  const all = forms.flatMap((form) => [form, form.toUpperCase()]);
  return [...new Set(all)];
}

/** Conditions on the columns as they rest; none for signals whose items belong to no trace. */
export function traceConditions(signal: Signal, trace: TraceId): string[] {
  if (signal === 'logs') return [`trace_id IN (${logTraceIds(trace).map(textLiteral).join(', ')})`];
  if (signal !== 'traces') return [];
  const readings = trace.readings.map(({ low, high }) => {
    const isLow = `trace_id = ${low}`;
    return high === undefined ? isLow : `(${isLow} AND coalesce(trace_id_high, '${high}') = '${high}')`;
  });
  return [`(${readings.join(' OR ')})`];
}
