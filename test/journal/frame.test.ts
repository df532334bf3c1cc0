import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import {
  decodeFileHeader,
  decodeFrame,
  encodeFileHeader,
  encodeFrame,
  FILE_HEADER_BYTES,
  FRAME_PREFIX_BYTES,
  stampFrame,
} from '../../src/journal/frame.ts';
import { envelopeOf } from './journal-support.ts';

const MARK = 0xdeadbeef;

function frameBytes(body: Uint8Array, position: number): Buffer {
  const frame = encodeFrame(envelopeOf(body).head, body);
  stampFrame(frame, MARK, position);
  const bytes = Buffer.concat(frame.rest ? [frame.front, frame.rest] : [frame.front]);
  expect(bytes.byteLength).toBe(frame.totalBytes);
  return bytes;
}

describe('file header', () => {
  it('reads back, also beyond 32 bits', () => {
    const header = { mark: MARK, epoch: 2 ** 40 + 3, first: 2 ** 45 + 1 };
    const bytes = encodeFileHeader(header);
    expect(bytes.byteLength).toBe(FILE_HEADER_BYTES);
    expect(decodeFileHeader(bytes)).toEqual(header);
    expect(decodeFileHeader(bytes.subarray(0, 39))).toBeUndefined();
  });

  it('is refused with any one byte changed', () => {
    const bytes = encodeFileHeader({ mark: MARK, epoch: 1, first: 1 });
    for (let at = 0; at < bytes.byteLength; at += 1) {
      const damaged = Buffer.from(bytes);
      damaged[at] = damaged[at]! ^ 0x10;
      expect(decodeFileHeader(damaged), `byte ${at}`).toBeUndefined();
    }
  });
});

describe('frame', () => {
  it.each([0, 1, 100, 16 * 1024, 16 * 1024 + 1, 200_000])('reads back a body of %i bytes', (size) => {
    const body = seededRandom(size).bytes(size);
    const bytes = Buffer.concat([Buffer.from('before'), frameBytes(body, 2 ** 33 + 5), Buffer.from('after')]);
    const frame = decodeFrame(bytes, 6, MARK);
    expect(frame?.position).toBe(2 ** 33 + 5);
    expect(frame?.head).toEqual(envelopeOf(body).head);
    expect(frame?.body.equals(body)).toBe(true);
    expect(frame?.totalBytes).toBe(bytes.byteLength - 11);
  });

  it('takes the position of its last stamp', () => {
    const body = Buffer.from('abc');
    const frame = encodeFrame(envelopeOf(body).head, body);
    stampFrame(frame, MARK, 4);
    stampFrame(frame, MARK, 9);
    expect(decodeFrame(frame.front, 0, MARK)?.position).toBe(9);
  });

  it('is refused with any one byte changed, cut anywhere, or under another mark', () => {
    const bytes = frameBytes(Buffer.from('{"message":"hello"}'), 12);
    for (let at = 0; at < bytes.byteLength; at += 1) {
      const damaged = Buffer.from(bytes);
      damaged[at] = damaged[at]! ^ 0x01;
      expect(decodeFrame(damaged, 0, MARK), `byte ${at}`).toBeUndefined();
      expect(decodeFrame(bytes.subarray(0, at), 0, MARK), `cut at ${at}`).toBeUndefined();
    }
    expect(decodeFrame(bytes, 0, MARK + 1)).toBeUndefined();
    expect(decodeFrame(Buffer.alloc(FRAME_PREFIX_BYTES), 0, MARK)).toBeUndefined();
  });
});
