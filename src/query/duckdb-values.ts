/** DuckDB's values → ours. Nothing is rounded: decimals stay text, times keep their microseconds or nanoseconds. */
import type {
  DuckDBArrayType,
  DuckDBArrayValue,
  DuckDBBlobValue,
  DuckDBListType,
  DuckDBListValue,
  DuckDBMapType,
  DuckDBMapValue,
  DuckDBStructType,
  DuckDBStructValue,
  DuckDBTimestampNanosecondsValue,
  DuckDBTimestampValue,
  DuckDBType,
} from '@duckdb/node-api';
import { cellOf, type QueryValue } from './values.ts';

type Convert = (value: unknown) => QueryValue;

export function duckDbConverter(api: typeof import('@duckdb/node-api')): (type: DuckDBType) => Convert {
  const { DuckDBTypeId: id } = api;
  const converterOf = (type: DuckDBType): Convert => {
    const convert = ofType(type);
    return (value) => (value === null || value === undefined ? null : convert(value));
  };
  const listOf = (item: Convert): Convert => {
    return (value) => (value as DuckDBListValue | DuckDBArrayValue).items.map(item);
  };
  const ofType = (type: DuckDBType): Convert => {
    switch (type.typeId) {
      case id.VARCHAR:
        return type.alias === 'JSON' ? jsonValue : (value) => value as string;
      case id.DECIMAL:
        return (value) => ({ kind: 'number', text: String(value) });
      case id.BLOB:
        return (value) => Buffer.from((value as DuckDBBlobValue).bytes).toString('base64');
      case id.TIMESTAMP:
      case id.TIMESTAMP_TZ:
        return (value) => timeText((value as DuckDBTimestampValue).micros, 1_000_000n, 6) ?? String(value);
      case id.TIMESTAMP_NS:
        return (value) =>
          timeText((value as DuckDBTimestampNanosecondsValue).nanos, 1_000_000_000n, 9) ?? String(value);
      case id.LIST:
        return listOf(converterOf((type as DuckDBListType).valueType));
      case id.ARRAY:
        return listOf(converterOf((type as DuckDBArrayType).valueType));
      case id.STRUCT: {
        const { entryNames, entryTypes } = type as DuckDBStructType;
        const fields = entryNames.map((name, index) => [name, converterOf(entryTypes[index]!)] as const);
        return (value) => {
          const { entries } = value as DuckDBStructValue;
          return { kind: 'fields', fields: fields.map(([name, convert]) => [name, convert(entries[name])]) };
        };
      }
      case id.MAP: {
        const { keyType, valueType } = type as DuckDBMapType;
        const [convertKey, convertValue] = [converterOf(keyType), converterOf(valueType)];
        return (value) => ({
          kind: 'fields',
          fields: (value as DuckDBMapValue).entries.map((entry) => [
            cellOf(convertKey(entry.key)),
            convertValue(entry.value),
          ]),
        });
      }
      default:
        return (value) => {
          const isPlain = ['boolean', 'number', 'bigint', 'string'].includes(typeof value);
          return isPlain ? (value as QueryValue) : String(value);
        };
    }
  };
  return converterOf;
}

/** A JSON column holds JSON, but not always on one line. */
function jsonValue(value: unknown): QueryValue {
  return { kind: 'json', text: String(value).replace(/[\r\n]+/g, ' ') };
}

const DATE_SECONDS_MAX = 8_640_000_000_000n;

/** ISO 8601, UTC, with as many digits as needed (at least milliseconds where there is a fraction). Undefined: out of range. */
function timeText(units: bigint, perSecond: bigint, digits: number): string | undefined {
  const rest = ((units % perSecond) + perSecond) % perSecond;
  const seconds = (units - rest) / perSecond;
  if (seconds > DATE_SECONDS_MAX || seconds < -DATE_SECONDS_MAX) return undefined;
  const whole = new Date(Number(seconds) * 1000).toISOString().slice(0, -5);
  const fraction = rest
    .toString()
    .padStart(digits, '0')
    .replace(/(000)+$/, '');
  return fraction === '' ? `${whole}Z` : `${whole}.${fraction}Z`;
}
