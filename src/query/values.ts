/**
 * Values of a query's rows as this program handles them, and their two ways out: JSON text (exact: 64-bit and larger integers are
 * number literals, JSON columns stay JSON) and text for a cell.
 */
export interface QueryColumn {
  name: string;
  /** DuckDB's name of the type. */
  type: string;
  isNumber: boolean;
}

/** `json`: text that is JSON already. `number`: a decimal too exact for a double. `fields`: a struct or map, in order. */
export type QueryValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | QueryValue[]
  | { kind: 'json' | 'number'; text: string }
  | { kind: 'fields'; fields: [string, QueryValue][] };

/** On one line. NaN and the infinities, which JSON cannot say, are texts. */
export function jsonOf(value: QueryValue): string {
  if (value === null) return 'null';
  switch (typeof value) {
    case 'boolean':
    case 'bigint':
      return String(value);
    case 'number':
      if (Object.is(value, -0)) return '-0';
      return Number.isFinite(value) ? String(value) : `"${value}"`;
    case 'string':
      return JSON.stringify(value);
  }
  if (Array.isArray(value)) return `[${value.map(jsonOf).join(',')}]`;
  if (value.kind === 'fields') return jsonOfFields(value.fields);
  return value.text;
}

export function jsonOfFields(fields: readonly (readonly [string, QueryValue])[]): string {
  return `{${fields.map(([name, field]) => `${JSON.stringify(name)}:${jsonOf(field)}`).join(',')}}`;
}

/** Null is empty. */
export function cellOf(value: QueryValue): string {
  if (value === null) return '';
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : String(value);
  return jsonOf(value);
}
