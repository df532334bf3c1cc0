/**
 * One MetricData of an intake v3 payload, its columns read into arrays. Source: agent-payload proto/metrics/intake_v3.proto.
 * Nothing is resolved here: deltas, references and value types are metrics-v3's business.
 * Numbers beyond 2^53 are rounded and noted in `exact`, as is all that the arrays do not tell.
 */
import { LENGTH_DELIMITED, ProtobufError, ProtobufReader } from '../protobuf.ts';
import { hasNaNPayload } from './series-messages.ts';

export interface V3Columns {
  names: Dictionary;
  tagStrings: Dictionary;
  resourceStrings: Dictionary;
  sourceTypeNames: Dictionary;
  units: Dictionary;
  tagsets: number[];
  resourceLengths: number[];
  resourceTypes: number[];
  resourceNames: number[];
  origins: number[];
  types: number[];
  nameRefs: number[];
  tagsetRefs: number[];
  resourcesRefs: number[];
  sourceTypeNameRefs: number[];
  originRefs: number[];
  unitRefs: number[];
  intervals: number[];
  pointCounts: number[];
  timestamps: number[];
  sints: number[];
  floats: number[];
  doubles: number[];
  binCounts: number[];
  binKeys: number[];
  bins: number[];
  /** Nothing was lost on the way into these arrays. */
  exact: boolean;
  /** The block can be read, but says what cannot be: why. */
  odd: string | undefined;
}

/** Index 0 is the empty text. */
export type Dictionary = string[];

type NumberColumn = {
  [K in keyof V3Columns]: V3Columns[K] extends number[] ? K : never;
}[keyof V3Columns];
type DictionaryColumn = 'names' | 'tagStrings' | 'resourceStrings' | 'sourceTypeNames' | 'units';
type Encoding = 'sint' | 'int' | 'uint' | 'float' | 'double';

const DICTIONARIES: ReadonlyMap<number, DictionaryColumn> = new Map([
  [1, 'names'],
  [2, 'tagStrings'],
  [4, 'resourceStrings'],
  [8, 'sourceTypeNames'],
  [25, 'units'],
] as const);

const NUMBERS: ReadonlyMap<number, readonly [NumberColumn, Encoding]> = new Map([
  [3, ['tagsets', 'sint']],
  [5, ['resourceLengths', 'int']],
  [6, ['resourceTypes', 'sint']],
  [7, ['resourceNames', 'sint']],
  [9, ['origins', 'int']],
  [10, ['types', 'uint']],
  [11, ['nameRefs', 'sint']],
  [12, ['tagsetRefs', 'sint']],
  [13, ['resourcesRefs', 'sint']],
  [14, ['intervals', 'uint']],
  [15, ['pointCounts', 'uint']],
  [16, ['timestamps', 'sint']],
  [17, ['sints', 'sint']],
  [18, ['floats', 'float']],
  [19, ['doubles', 'double']],
  [20, ['binCounts', 'uint']],
  [21, ['binKeys', 'sint']],
  [22, ['bins', 'uint']],
  [23, ['sourceTypeNameRefs', 'sint']],
  [24, ['originRefs', 'sint']],
  [26, ['unitRefs', 'sint']],
] as const);

const WIRE_TYPES: Record<Encoding, number> = { sint: 0, int: 0, uint: 0, float: 5, double: 1 };

/** Reads the MetricData that `reader` stands at. Throws ProtobufError. */
export function readV3Columns(reader: ProtobufReader): V3Columns {
  const columns: V3Columns = {
    names: [''],
    tagStrings: [''],
    resourceStrings: [''],
    sourceTypeNames: [''],
    units: [''],
    tagsets: [],
    resourceLengths: [],
    resourceTypes: [],
    resourceNames: [],
    origins: [],
    types: [],
    nameRefs: [],
    tagsetRefs: [],
    resourcesRefs: [],
    sourceTypeNameRefs: [],
    originRefs: [],
    unitRefs: [],
    intervals: [],
    pointCounts: [],
    timestamps: [],
    sints: [],
    floats: [],
    doubles: [],
    binCounts: [],
    binKeys: [],
    bins: [],
    exact: true,
    odd: undefined,
  };
  while (!reader.done()) {
    const tag = reader.tag();
    const field = tag >>> 3;
    const wireType = tag & 7;
    const numbers = NUMBERS.get(field);
    const dictionary = DICTIONARIES.get(field);
    if (numbers && wireType === LENGTH_DELIMITED) {
      const outer = reader.enter();
      const [name, encoding] = numbers;
      readNumbers(reader, encoding, columns[name], columns);
      reader.leave(outer);
    } else if (numbers && wireType === WIRE_TYPES[numbers[1]]) {
      columns[numbers[0]].push(readNumber(reader, numbers[1], columns));
    } else if (dictionary && wireType === LENGTH_DELIMITED) {
      // Sent twice, the last one counts.
      if (columns[dictionary].length > 1) columns.exact = false;
      columns[dictionary] = readDictionary(reader.bytes(), columns);
    } else {
      reader.skip(wireType, field);
      columns.exact = false;
    }
  }
  return columns;
}

function readNumbers(reader: ProtobufReader, encoding: Encoding, into: number[], columns: V3Columns): void {
  if (encoding === 'sint') {
    while (!reader.done()) {
      const start = reader.offset;
      const value = reader.sint64Number();
      into.push(Number.isNaN(value) ? readWide(reader, start, encoding, columns) : value);
    }
    return;
  }
  while (!reader.done()) into.push(readNumber(reader, encoding, columns));
}

function readNumber(reader: ProtobufReader, encoding: Encoding, columns: V3Columns): number {
  if (encoding === 'double') {
    const value = reader.double();
    if (!Number.isNaN(value)) return value;
    if (hasNaNPayload(reader, value)) columns.exact = false;
    return Number.NaN;
  }
  if (encoding === 'float') {
    const value = reader.float();
    if (!Number.isNaN(value)) return value;
    if (reader.buffer.readUInt32LE(reader.offset - 4) !== 0x7fc00000) columns.exact = false;
    return Number.NaN;
  }
  const start = reader.offset;
  let value: number;
  if (encoding === 'sint') value = reader.sint64Number();
  else if (encoding === 'int') value = reader.int64Number();
  else value = reader.uint64Number();
  return Number.isNaN(value) ? readWide(reader, start, encoding, columns) : value;
}

/** Reads again what is beyond 2^53. */
function readWide(reader: ProtobufReader, start: number, encoding: Encoding, columns: V3Columns): number {
  columns.exact = false;
  reader.offset = start;
  if (encoding === 'sint') return Number(reader.sint64());
  return Number(encoding === 'int' ? reader.int64() : reader.uint64());
}

/** Texts, each after its length. */
function readDictionary(bytes: Uint8Array, columns: V3Columns): Dictionary {
  const dictionary: Dictionary = [''];
  const reader = new ProtobufReader(bytes);
  try {
    while (!reader.done()) {
      dictionary.push(reader.string());
      if (!reader.stringExact) columns.exact = false;
    }
  } catch (error) {
    if (!(error instanceof ProtobufError)) throw error;
    // The payload is well-formed protobuf; only this dictionary inside it is not.
    columns.odd ??= `a dictionary is broken: ${error.message}`;
  }
  return dictionary;
}
