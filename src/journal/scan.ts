/**
 * Finds the frames of one journal file after a restart. What does not check is passed over up to the next place where a
 * whole frame head checks: by the journal's random mark, its CRC and a position that can stand there. Never throws on damage.
 */
import { crc32 } from 'node:zlib';
import type { EnvelopeHead, Position } from '../core/envelope.ts';
import type { OpenFile } from '../core/file-system.ts';
import { MIB } from '../core/limits.ts';
import {
  decodeFrameHead,
  decodeFramePrefix,
  FILE_HEADER_BYTES,
  FRAME_PREFIX_BYTES,
  type FramePrefix,
  findMark,
} from './frame.ts';

const WINDOW_BYTES = MIB;
const MARK_BYTES = 4;

export interface ScannedFrame {
  position: Position;
  offset: number;
  lengthBytes: number;
  head: EnvelopeHead;
}

/** A stretch that is not made of valid frames; `frames` is how many positions are missing there, at least 1. */
export interface DamagedStretch {
  from: number;
  to: number;
  frames: number;
}

export interface ScanResult {
  damaged: DamagedStretch[];
  /** End of the last valid frame; what follows is a torn tail, or damage too. */
  validEnd: number;
}

export interface ScanOptions {
  mark: number;
  /** The first position that may stand here. */
  expected: Position;
  /** Whether bodies are read and checked now; otherwise that is left to the reader. */
  checkBodies: boolean;
}

export async function scanFrames(
  file: OpenFile,
  sizeBytes: number,
  options: ScanOptions,
  onFrame: (frame: ScannedFrame) => void,
): Promise<ScanResult> {
  const window = new FileWindow(file, sizeBytes);
  const damaged: DamagedStretch[] = [];
  let expected = options.expected;
  let offset = FILE_HEADER_BYTES;
  let validEnd = FILE_HEADER_BYTES;
  let damagedFrom = -1;
  while (offset < sizeBytes) {
    // A frame takes at least its prefix: so many positions may be missing at most.
    const missingMax = damagedFrom < 0 ? 0 : Math.floor((offset - damagedFrom) / FRAME_PREFIX_BYTES) + 1;
    const found = await frameHeadAt(window, offset, options.mark, expected, expected + missingMax);
    if (!found) {
      if (damagedFrom < 0) damagedFrom = offset;
      offset = await nextMark(window, offset + 1, options.mark);
      continue;
    }
    const { prefix, head } = found;
    const end = offset + prefix.totalBytes;
    if (options.checkBodies && !(await bodyChecks(window, offset, prefix))) {
      if (damagedFrom < 0) damagedFrom = offset;
      offset = end;
      continue;
    }
    if (damagedFrom >= 0) {
      damaged.push({ from: damagedFrom, to: offset, frames: Math.max(1, prefix.position - expected) });
      damagedFrom = -1;
    }
    onFrame({ position: prefix.position, offset, lengthBytes: prefix.totalBytes, head });
    expected = prefix.position + 1;
    offset = end;
    validEnd = end;
  }
  return { damaged, validEnd };
}

async function frameHeadAt(
  window: FileWindow,
  offset: number,
  mark: number,
  positionMin: Position,
  positionMax: Position,
): Promise<{ prefix: FramePrefix; head: EnvelopeHead } | undefined> {
  const prefix = decodeFramePrefix(await window.at(offset, FRAME_PREFIX_BYTES), 0, mark);
  if (!prefix || prefix.position < positionMin || prefix.position > positionMax) return undefined;
  if (offset + prefix.totalBytes > window.sizeBytes) return undefined;
  const head = decodeFrameHead(await window.at(offset, FRAME_PREFIX_BYTES + prefix.headBytes), 0, prefix);
  return head ? { prefix, head } : undefined;
}

async function bodyChecks(window: FileWindow, offset: number, prefix: FramePrefix): Promise<boolean> {
  let at = offset + FRAME_PREFIX_BYTES + prefix.headBytes;
  const end = offset + prefix.totalBytes;
  let crc = 0;
  while (at < end) {
    const piece = await window.at(at, Math.min(WINDOW_BYTES, end - at));
    if (piece.byteLength === 0) return false;
    crc = crc32(piece, crc);
    at += piece.byteLength;
  }
  return crc === prefix.bodyCrc;
}

/** The next place from `offset` on where the mark stands; the size of the file when there is none. */
async function nextMark(window: FileWindow, offset: number, mark: number): Promise<number> {
  for (let at = offset; at + MARK_BYTES <= window.sizeBytes; ) {
    const piece = await window.at(at, WINDOW_BYTES);
    if (piece.byteLength < MARK_BYTES) break;
    const found = findMark(piece, 0, mark);
    if (found >= 0) return at + found;
    // A mark may lie across the border of two windows.
    at += piece.byteLength - MARK_BYTES + 1;
  }
  return window.sizeBytes;
}

/** Reads a file front to back through one buffer. */
class FileWindow {
  readonly sizeBytes: number;
  readonly #file: OpenFile;
  #buffer = Buffer.alloc(0);
  #from = 0;
  #filled = 0;

  constructor(file: OpenFile, sizeBytes: number) {
    this.#file = file;
    this.sizeBytes = sizeBytes;
  }

  /** A view, valid until the next call; shorter than asked only at the end of the file. */
  async at(offset: number, lengthBytes: number): Promise<Buffer> {
    const end = Math.min(offset + lengthBytes, this.sizeBytes);
    if (offset < this.#from || end > this.#from + this.#filled) {
      const wanted = Math.min(Math.max(WINDOW_BYTES, lengthBytes), this.sizeBytes - offset);
      if (this.#buffer.byteLength < wanted) this.#buffer = Buffer.allocUnsafe(wanted);
      this.#from = offset;
      this.#filled = await this.#file.read(this.#buffer.subarray(0, wanted), offset);
    }
    const start = offset - this.#from;
    return this.#buffer.subarray(start, Math.min(start + end - offset, this.#filled));
  }
}
