/** API keys out of sketch payloads: CommonMetadata carries one, and only its fingerprint may be kept. */
import { isUtf8 } from 'node:buffer';
import { fingerprintOf } from '../core/sealer.ts';
import { ProtobufReader } from '../wire/protobuf.ts';

/** A field of CommonMetadata (tag included) with its api_key (6) replaced by the fingerprint; itself when it has none. */
export function withoutKey(field: Uint8Array): Uint8Array {
  const outer = new ProtobufReader(field);
  outer.tag();
  const reader = outer.message();
  const parts: Uint8Array[] = [];
  let hasKey = false;
  while (!reader.done()) {
    const start = reader.offset;
    const tag = reader.tag();
    const whole = reader.skipField(tag, start);
    const secret = tag >>> 3 === 6 ? secretOf(whole, tag) : '';
    if (secret === '') {
      parts.push(whole);
    } else {
      hasKey = true;
      const fingerprint = Buffer.from(fingerprintOf(secret), 'latin1');
      parts.push(Uint8Array.of(0x32, fingerprint.byteLength), fingerprint);
    }
  }
  if (!hasKey) return field;
  const content = Buffer.concat(parts);
  return Buffer.concat([Uint8Array.of(0x12), varint(content.byteLength), content]);
}

/** The key as text; of bytes that are no text, their base64. A field 6 that is no string is no key, but is hidden as well. */
function secretOf(field: Uint8Array, tag: number): string {
  const bytes = (tag & 7) === 2 ? fieldContent(field) : field;
  return isUtf8(bytes) ? Buffer.from(bytes).toString('utf8') : Buffer.from(bytes).toString('base64');
}

function fieldContent(field: Uint8Array): Uint8Array {
  const reader = new ProtobufReader(field);
  reader.tag();
  return reader.bytes();
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let left = value;
  for (; left >= 0x80; left = Math.floor(left / 128)) bytes.push((left % 128) | 0x80);
  bytes.push(left);
  return Uint8Array.from(bytes);
}

export function bodyWithoutKey(body: Uint8Array): Uint8Array {
  const reader = new ProtobufReader(body);
  const parts: Uint8Array[] = [];
  while (!reader.done()) {
    const start = reader.offset;
    const tag = reader.tag();
    const field = reader.skipField(tag, start);
    parts.push(tag === 0x12 ? withoutKey(field) : field);
  }
  return Buffer.concat(parts);
}
