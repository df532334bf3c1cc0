/**
 * Plain values as msgpack, as tracers write them: the shortest form of each integer and length, doubles as float 64.
 * Source: the msgpack specification (github.com/msgpack/msgpack, spec.md).
 */
export type Packable = string | number | bigint | Packable[] | { [key: string]: Packable } | Double;

/** A number that is written as float 64 even where it is whole: metrics of spans. */
export class Double {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }
}

/** Integers must be at least 0 and below 2^64. */
export function packMsgpack(value: Packable): Buffer {
  const parts: Uint8Array[] = [];
  pack(value, parts);
  return Buffer.concat(parts);
}

function pack(value: Packable, parts: Uint8Array[]): void {
  if (typeof value === 'string') {
    const text = Buffer.from(value);
    parts.push(lengthHead(text.byteLength, 0xa0, 32, [0xd9, 0xda, 0xdb]), text);
  } else if (typeof value === 'number' || typeof value === 'bigint') {
    parts.push(integer(value));
  } else if (value instanceof Double) {
    const bytes = Buffer.alloc(9);
    bytes[0] = 0xcb;
    bytes.writeDoubleBE(value.value, 1);
    parts.push(bytes);
  } else if (Array.isArray(value)) {
    parts.push(lengthHead(value.length, 0x90, 16, [undefined, 0xdc, 0xdd]));
    for (const element of value) pack(element, parts);
  } else {
    const entries = Object.entries(value);
    parts.push(lengthHead(entries.length, 0x80, 16, [undefined, 0xde, 0xdf]));
    for (const [key, member] of entries) {
      pack(key, parts);
      pack(member, parts);
    }
  }
}

/** `codes` are those of lengths of 8, 16 and 32 bits. */
function lengthHead(length: number, fix: number, fixMax: number, codes: (number | undefined)[]): Uint8Array {
  if (length < fixMax) return Uint8Array.of(fix | length);
  if (length < 0x100 && codes[0] !== undefined) return Uint8Array.of(codes[0], length);
  if (length < 0x10000) return Uint8Array.of(codes[1]!, length >> 8, length & 0xff);
  const head = Buffer.alloc(5);
  head[0] = codes[2]!;
  head.writeUInt32BE(length, 1);
  return head;
}

function integer(value: number | bigint): Uint8Array {
  if (value < 0 || (typeof value === 'number' && !Number.isSafeInteger(value))) {
    throw new Error(`BUG: no unsigned integer: ${value}`);
  }
  if (value < 0x80) return Uint8Array.of(Number(value));
  if (value < 0x100) return Uint8Array.of(0xcc, Number(value));
  const bytes = Buffer.alloc(value < 0x10000 ? 3 : value < 0x100000000 ? 5 : 9);
  bytes[0] = bytes.length === 3 ? 0xcd : bytes.length === 5 ? 0xce : 0xcf;
  if (bytes.length === 9) bytes.writeBigUInt64BE(BigInt(value), 1);
  else bytes.writeUIntBE(Number(value), 1, bytes.length - 1);
  return bytes;
}
