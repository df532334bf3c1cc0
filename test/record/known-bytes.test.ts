import { describe, expect, it } from 'vitest';
import { viewOf } from '../../src/core/buffers.ts';
import { KnownBytes } from '../../src/record/known-bytes.ts';

describe('known bytes', () => {
  it('are found where all of them stand, and nowhere else', () => {
    for (let length = 0; length < 20; length++) {
      for (const offset of [0, 1, 3]) {
        const around = Uint8Array.from({ length: offset + length + 5 }, (_, i) => 200 + i);
        // A piece of something larger, as bodies are.
        const held = new Uint8Array(around.byteLength + 7);
        held.set(around, 7);
        const bytes = held.subarray(7);
        const known = new KnownBytes(bytes.slice(offset, offset + length));
        const isAt = (end = bytes.byteLength): boolean => known.isAt(viewOf(bytes), offset, end);
        expect(known.length).toBe(length);
        expect(isAt()).toBe(true);
        expect(isAt(offset + length)).toBe(true);
        if (length > 0) expect(isAt(offset + length - 1)).toBe(false);
        for (let i = offset; i < offset + length; i++) {
          bytes[i]! ^= 0x80;
          expect(isAt()).toBe(false);
          bytes[i]! ^= 0x80;
        }
      }
    }
  });
});
