/**
 * Thrift's compact protocol, as far as Parquet's footer, indexes and headers need it. Source: the Apache Thrift compact protocol
 * specification.
 */
import type { ByteWriter } from './byte-writer.ts';

const TYPE = { true: 1, false: 2, byte: 3, i32: 5, i64: 6, binary: 8, list: 9, struct: 12 } as const;

export type ThriftValue =
  | { kind: 'bool'; value: boolean }
  | { kind: 'byte' | 'i32' | 'i64'; value: number }
  | { kind: 'text'; value: string }
  | { kind: 'binary'; value: Uint8Array }
  | { kind: 'list'; of: 'i32' | 'i64' | 'text' | 'struct'; items: readonly (number | string | ThriftStruct)[] }
  | { kind: 'list'; of: 'bool'; items: readonly boolean[] }
  | { kind: 'list'; of: 'binary'; items: readonly Uint8Array[] }
  | { kind: 'struct'; value: ThriftStruct };

/** Fields in ascending order of their ids; undefined ones are left out. */
export type ThriftStruct = readonly (readonly [id: number, value: ThriftValue | undefined])[];

export const i32 = (value: number): ThriftValue => ({ kind: 'i32', value });
export const i64 = (value: number): ThriftValue => ({ kind: 'i64', value });
export const text = (value: string): ThriftValue => ({ kind: 'text', value });
export const struct = (value: ThriftStruct): ThriftValue => ({ kind: 'struct', value });

export function writeStruct(writer: ByteWriter, fields: ThriftStruct): void {
  let last = 0;
  for (const [id, value] of fields) {
    if (value === undefined) continue;
    const type = typeOf(value);
    const step = id - last;
    if (step > 0 && step <= 15) {
      writer.byte((step << 4) | type);
    } else {
      writer.byte(type);
      writer.zigzag(id);
    }
    last = id;
    if (value.kind !== 'bool') writeValue(writer, value);
  }
  writer.byte(0);
}

function typeOf(value: ThriftValue): number {
  switch (value.kind) {
    case 'bool':
      return value.value ? TYPE.true : TYPE.false;
    case 'text':
      return TYPE.binary;
    default:
      return TYPE[value.kind];
  }
}

function writeValue(writer: ByteWriter, value: ThriftValue): void {
  switch (value.kind) {
    case 'bool':
      return;
    case 'byte':
      writer.byte(value.value & 0xff);
      return;
    case 'i32':
    case 'i64':
      writer.zigzag(value.value);
      return;
    case 'text':
      writeBinary(writer, Buffer.from(value.value, 'utf8'));
      return;
    case 'binary':
      writeBinary(writer, value.value);
      return;
    case 'struct':
      writeStruct(writer, value.value);
      return;
    case 'list': {
      const type = value.of === 'text' ? TYPE.binary : value.of === 'bool' ? TYPE.true : TYPE[value.of];
      const size = value.items.length;
      if (size < 15) {
        writer.byte((size << 4) | type);
      } else {
        writer.byte(0xf0 | type);
        writer.varint(size);
      }
      for (const item of value.items) {
        if (typeof item === 'number') writer.zigzag(item);
        else if (typeof item === 'boolean') writer.byte(item ? TYPE.true : TYPE.false);
        else if (typeof item === 'string') writeBinary(writer, Buffer.from(item, 'utf8'));
        else if (item instanceof Uint8Array) writeBinary(writer, item);
        else writeStruct(writer, item);
      }
    }
  }
}

function writeBinary(writer: ByteWriter, bytes: Uint8Array): void {
  writer.varint(bytes.byteLength);
  writer.bytes(bytes);
}
