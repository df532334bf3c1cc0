/**
 * A cursor over the bytes of one msgpack value (github.com/msgpack/msgpack, spec.md). It checks the framing of everything it
 * passes and gives bounds instead of copies: strings, binaries and extensions stay where they lie until someone asks for them.
 * Integers come as two 32-bit halves, so that 64-bit ids need no bigint.
 *
 * Malformed input throws `MsgpackError` with the offset; decoders catch it once, at their edge. A header that claims more
 * elements than bytes are left is malformed, so no count is ever believed before the bytes are there.
 */
import { isUtf8 } from 'node:buffer';
import { viewOf } from '../core/buffers.ts';
import { NESTING_MAX } from '../core/limits.ts';
import { textOfDouble } from './json-number.ts';

export class MsgpackError extends Error {
  readonly offset: number;

  constructor(reason: string, offset: number) {
    super(reason);
    this.name = 'MsgpackError';
    this.offset = offset;
  }
}

export type MsgpackType = 'nil' | 'boolean' | 'integer' | 'float' | 'string' | 'binary' | 'array' | 'map' | 'extension';

/** Type by first byte; index 0xc1 is never used. */
const TYPES: readonly (MsgpackType | undefined)[] = Array.from({ length: 256 }, (_, marker) => typeOfMarker(marker));

function typeOfMarker(marker: number): MsgpackType | undefined {
  if (marker <= 0x7f || marker >= 0xe0) return 'integer';
  if (marker <= 0x8f) return 'map';
  if (marker <= 0x9f) return 'array';
  if (marker <= 0xbf) return 'string';
  if (marker === 0xc0) return 'nil';
  if (marker === 0xc1) return undefined;
  if (marker <= 0xc3) return 'boolean';
  if (marker <= 0xc6) return 'binary';
  if (marker <= 0xc9) return 'extension';
  if (marker <= 0xcb) return 'float';
  if (marker <= 0xd3) return 'integer';
  if (marker <= 0xd8) return 'extension';
  if (marker <= 0xdb) return 'string';
  return marker <= 0xdd ? 'array' : 'map';
}

export class MsgpackReader {
  readonly bytes: Buffer;
  offset: number;
  readonly end: number;
  /** After `passString`, `passBinary`, `passExtension`: where the content lies, [start, stop). */
  start = 0;
  stop = 0;
  /** After `passInteger`: the 64 bits (two's complement) as unsigned halves, and whether the number is below zero. */
  low = 0;
  high = 0;
  negative = false;
  /** After `passExtension`: the extension's type, −128..127. */
  extensionType = 0;
  /** After `readString`: false when the bytes are not valid UTF-8. */
  stringExact = true;
  /** Of the same bytes. */
  readonly view: DataView;

  constructor(bytes: Uint8Array, start = 0, end = bytes.byteLength) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.view = viewOf(bytes);
    this.offset = start;
    this.end = end;
  }

  fail(reason: string, offset = this.offset): never {
    throw new MsgpackError(reason, offset);
  }

  atEnd(): boolean {
    return this.offset >= this.end;
  }

  /** Type of the value at the cursor, which does not move. */
  type(): MsgpackType {
    if (this.offset >= this.end) this.fail('unexpected end of msgpack');
    return TYPES[this.bytes[this.offset]!] ?? this.fail('0xc1 is no msgpack');
  }

  /** Checks that `count` bytes lie ahead of `from` and returns `from`. */
  #need(from: number, count: number): number {
    if (count > this.end - from) this.fail('unexpected end of msgpack', Math.min(from, this.end));
    return from;
  }

  #marker(): number {
    if (this.offset >= this.end) this.fail('unexpected end of msgpack');
    return this.bytes[this.offset]!;
  }

  /** True: a nil was passed. False: something else is there and the cursor did not move. */
  passNil(): boolean {
    if (this.#marker() !== 0xc0) return false;
    this.offset += 1;
    return true;
  }

  /** The boolean at the cursor; undefined (cursor unmoved) when it is something else. */
  readBoolean(): boolean | undefined {
    const marker = this.#marker();
    if (marker !== 0xc2 && marker !== 0xc3) return undefined;
    this.offset += 1;
    return marker === 0xc3;
  }

  /** True: an integer was passed; `low`, `high`, `negative` tell it. False: cursor unmoved. */
  passInteger(): boolean {
    const marker = this.#marker();
    const at = this.offset + 1;
    if (marker <= 0x7f) {
      this.#setUnsigned(marker, 0, at);
      return true;
    }
    if (marker >= 0xe0) {
      this.#setSigned(marker - 0x100, at);
      return true;
    }
    if (marker < 0xcc || marker > 0xd3) return false;
    const view = this.view;
    switch (marker) {
      case 0xcc:
        this.#setUnsigned(view.getUint8(this.#need(at, 1)), 0, at + 1);
        break;
      case 0xcd:
        this.#setUnsigned(view.getUint16(this.#need(at, 2)), 0, at + 2);
        break;
      case 0xce:
        this.#setUnsigned(view.getUint32(this.#need(at, 4)), 0, at + 4);
        break;
      case 0xcf:
        this.#need(at, 8);
        this.#setUnsigned(view.getUint32(at + 4), view.getUint32(at), at + 8);
        break;
      case 0xd0:
        this.#setSigned(view.getInt8(this.#need(at, 1)), at + 1);
        break;
      case 0xd1:
        this.#setSigned(view.getInt16(this.#need(at, 2)), at + 2);
        break;
      case 0xd2:
        this.#setSigned(view.getInt32(this.#need(at, 4)), at + 4);
        break;
      default:
        this.#need(at, 8);
        this.low = view.getUint32(at + 4);
        this.high = view.getUint32(at);
        this.negative = this.high >= 0x80000000;
        this.offset = at + 8;
    }
    return true;
  }

  #setUnsigned(low: number, high: number, next: number): void {
    this.low = low;
    this.high = high;
    this.negative = false;
    this.offset = next;
  }

  #setSigned(value: number, next: number): void {
    this.low = value >>> 0;
    this.high = value < 0 ? 0xffffffff : 0;
    this.negative = value < 0;
    this.offset = next;
  }

  /** The integer passed last: a number where that is exact, else a bigint. */
  integer(): number | bigint {
    const { low, high } = this;
    if (!this.negative) return high <= 0x1fffff ? high * 0x100000000 + low : (BigInt(high) << 32n) | BigInt(low);
    const signedHigh = high | 0;
    if (signedHigh >= -0x200000) return signedHigh * 0x100000000 + low;
    return BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low));
  }

  /** The float at the cursor (a float32 widened); undefined (cursor unmoved) when it is something else. */
  readFloat(): number | undefined {
    const marker = this.#marker();
    if (marker === 0xcb) {
      const at = this.#need(this.offset + 1, 8);
      this.offset = at + 8;
      return this.view.getFloat64(at);
    }
    if (marker !== 0xca) return undefined;
    const at = this.#need(this.offset + 1, 4);
    this.offset = at + 4;
    return this.view.getFloat32(at);
  }

  /** True: a string was passed; its bytes are at [start, stop), not checked to be UTF-8. False: cursor unmoved. */
  passString(): boolean {
    const marker = this.#marker();
    const at = this.offset + 1;
    if ((marker & 0xe0) === 0xa0) {
      this.#content(at, marker & 0x1f);
    } else if (marker === 0xd9) {
      this.#content(at + 1, this.view.getUint8(this.#need(at, 1)));
    } else if (marker === 0xda) {
      this.#content(at + 2, this.view.getUint16(this.#need(at, 2)));
    } else if (marker === 0xdb) {
      this.#content(at + 4, this.view.getUint32(this.#need(at, 4)));
    } else {
      return false;
    }
    return true;
  }

  /** True: a binary was passed; its bytes are at [start, stop). False: cursor unmoved. */
  passBinary(): boolean {
    const marker = this.#marker();
    const at = this.offset + 1;
    if (marker === 0xc4) this.#content(at + 1, this.view.getUint8(this.#need(at, 1)));
    else if (marker === 0xc5) this.#content(at + 2, this.view.getUint16(this.#need(at, 2)));
    else if (marker === 0xc6) this.#content(at + 4, this.view.getUint32(this.#need(at, 4)));
    else return false;
    return true;
  }

  /** True: an extension was passed; `extensionType`, and its bytes at [start, stop). False: cursor unmoved. */
  passExtension(): boolean {
    const marker = this.#marker();
    const at = this.offset + 1;
    if (marker >= 0xd4 && marker <= 0xd8) this.#extension(at, 1 << (marker - 0xd4));
    else if (marker === 0xc7) this.#extension(at + 1, this.view.getUint8(this.#need(at, 1)));
    else if (marker === 0xc8) this.#extension(at + 2, this.view.getUint16(this.#need(at, 2)));
    else if (marker === 0xc9) this.#extension(at + 4, this.view.getUint32(this.#need(at, 4)));
    else return false;
    return true;
  }

  #extension(at: number, length: number): void {
    this.extensionType = this.view.getInt8(this.#need(at, 1));
    this.#content(at + 1, length);
  }

  #content(at: number, length: number): void {
    this.start = this.#need(at, length);
    this.stop = at + length;
    this.offset = this.stop;
  }

  /** Count of elements of the array at the cursor, which moves to the first; undefined (unmoved) when it is no array. */
  enterArray(): number | undefined {
    const marker = this.#marker();
    const at = this.offset;
    let count: number;
    if ((marker & 0xf0) === 0x90) {
      count = marker & 0x0f;
      this.offset = at + 1;
    } else if (marker === 0xdc) {
      count = this.view.getUint16(this.#need(at + 1, 2));
      this.offset = at + 3;
    } else if (marker === 0xdd) {
      count = this.view.getUint32(this.#need(at + 1, 4));
      this.offset = at + 5;
    } else {
      return undefined;
    }
    if (count > this.end - this.offset) this.fail(`an array of ${count} elements does not fit into the body`, at);
    return count;
  }

  /** Count of pairs of the map at the cursor, which moves to the first key; undefined (unmoved) when it is no map. */
  enterMap(): number | undefined {
    const marker = this.#marker();
    const at = this.offset;
    let count: number;
    if ((marker & 0xf0) === 0x80) {
      count = marker & 0x0f;
      this.offset = at + 1;
    } else if (marker === 0xde) {
      count = this.view.getUint16(this.#need(at + 1, 2));
      this.offset = at + 3;
    } else if (marker === 0xdf) {
      count = this.view.getUint32(this.#need(at + 1, 4));
      this.offset = at + 5;
    } else {
      return undefined;
    }
    if (count * 2 > this.end - this.offset) this.fail(`a map of ${count} pairs does not fit into the body`, at);
    return count;
  }

  /** The string at the cursor, invalid UTF-8 replaced (`stringExact` tells); undefined (unmoved) when it is no string. */
  readString(): string | undefined {
    if (!this.passString()) return undefined;
    return this.text();
  }

  /** Text of the string passed last; sets `stringExact`. */
  text(): string {
    this.stringExact = isAscii(this.bytes, this.start, this.stop);
    if (this.stringExact) return this.bytes.toString('latin1', this.start, this.stop);
    this.stringExact = isUtf8(this.bytes.subarray(this.start, this.stop));
    return this.bytes.toString('utf8', this.start, this.stop);
  }

  /** Moves over the value at the cursor. `depth`: how deep it is nested already. */
  skip(depth = 0): void {
    switch (this.type()) {
      case 'nil':
      case 'boolean':
        this.offset += 1;
        return;
      case 'integer':
        this.passInteger();
        return;
      case 'float':
        this.readFloat();
        return;
      case 'string':
        this.passString();
        return;
      case 'binary':
        this.passBinary();
        return;
      case 'extension':
        this.passExtension();
        return;
      default: {
        const deeper = this.deeper(depth);
        const count = this.enterArray() ?? this.enterMap()! * 2;
        for (let i = 0; i < count; i++) this.skip(deeper);
      }
    }
  }

  /** One level more; fails past the bound. */
  deeper(depth: number): number {
    if (depth >= NESTING_MAX) this.fail(`nested deeper than ${NESTING_MAX}`);
    return depth + 1;
  }

  /** Skips the value at the cursor and returns its bytes as sent (a view). */
  sliceValue(): Buffer {
    const from = this.offset;
    this.skip();
    return this.bytes.subarray(from, this.offset);
  }
}

export function isAscii(bytes: Uint8Array, start: number, stop: number): boolean {
  for (let i = start; i < stop; i++) if (bytes[i]! >= 0x80) return false;
  return true;
}

export interface JsonRendering {
  text: string;
  /** True: the JSON text stands for exactly one msgpack value (numbers by decimal value). */
  exact: boolean;
}

/**
 * One whole msgpack value as JSON. Where JSON has no such thing, `exact` is false and the text says what was there:
 * a binary `{"$bin":"<base64>"}`, an extension `{"$ext":type,"data":"<base64>"}`, a string that is no UTF-8 `{"$str":"<base64>"}`
 * (as a key: the text `$str:<base64>`), NaN and ±Infinity as strings, a key that is no string as its JSON text. Keys that occur twice
 * are written twice. Throws `MsgpackError`, also on bytes after the value.
 */
export function msgpackToJson(bytes: Uint8Array): JsonRendering {
  const reader = new MsgpackReader(bytes);
  const rendering = msgpackValueToJson(reader);
  if (!reader.atEnd()) reader.fail('bytes after the msgpack value');
  return rendering;
}

/** As `msgpackToJson`, for the value at the reader's cursor, which moves behind it. */
export function msgpackValueToJson(reader: MsgpackReader): JsonRendering {
  const rendering: JsonRendering = { text: '', exact: true };
  rendering.text = renderValue(reader, rendering, 0);
  return rendering;
}

function renderValue(reader: MsgpackReader, rendering: JsonRendering, depth: number): string {
  switch (reader.type()) {
    case 'nil':
      reader.offset += 1;
      return 'null';
    case 'boolean':
      return reader.readBoolean() ? 'true' : 'false';
    case 'integer':
      reader.passInteger();
      return String(reader.integer());
    case 'float': {
      const value = reader.readFloat()!;
      if (Number.isFinite(value)) return textOfDouble(value);
      rendering.exact = false;
      return `"${value}"`;
    }
    case 'string': {
      const text = reader.readString()!;
      if (reader.stringExact) return JSON.stringify(text);
      rendering.exact = false;
      return `{"$str":"${base64Of(reader)}"}`;
    }
    case 'binary':
      reader.passBinary();
      rendering.exact = false;
      return `{"$bin":"${base64Of(reader)}"}`;
    case 'extension':
      reader.passExtension();
      rendering.exact = false;
      return `{"$ext":${reader.extensionType},"data":"${base64Of(reader)}"}`;
    case 'array': {
      const deeper = reader.deeper(depth);
      const count = reader.enterArray()!;
      let text = '[';
      for (let i = 0; i < count; i++) text += (i === 0 ? '' : ',') + renderValue(reader, rendering, deeper);
      return `${text}]`;
    }
    case 'map': {
      const deeper = reader.deeper(depth);
      const count = reader.enterMap()!;
      const seen = new Set<string>();
      let text = '{';
      for (let i = 0; i < count; i++) {
        const key = renderKey(reader, rendering, deeper);
        if (seen.has(key)) rendering.exact = false;
        seen.add(key);
        text += `${(i === 0 ? '' : ',') + key}:${renderValue(reader, rendering, deeper)}`;
      }
      return `${text}}`;
    }
  }
}

/** A map's key as a JSON string, quotes included. */
export function renderKey(reader: MsgpackReader, rendering: JsonRendering, depth: number): string {
  const key = reader.readString();
  if (key !== undefined && reader.stringExact) return JSON.stringify(key);
  rendering.exact = false;
  if (key !== undefined) return `"$str:${base64Of(reader)}"`;
  return JSON.stringify(renderValue(reader, rendering, depth));
}

function base64Of(reader: MsgpackReader): string {
  return reader.bytes.toString('base64', reader.start, reader.stop);
}
