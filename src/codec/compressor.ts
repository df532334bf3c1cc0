/** One zstd context per level, used again from page to page. Frames carry a checksum, so that rotten bytes do not decode. */
import zstd from 'zstd-napi/binding.js';
import { letGo } from '../core/buffers.ts';
import { MIB } from '../core/limits.ts';

/** Of the room for what comes out. */
const TARGET_BYTES_KEPT_MAX = 2 * MIB;

export class Compressor {
  readonly #context = new zstd.CCtx();
  #target = Buffer.allocUnsafeSlow(64 * 1024);

  constructor(level: number) {
    this.#context.setParameter(zstd.CParameter.compressionLevel, level);
    this.#context.setParameter(zstd.CParameter.checksumFlag, 1);
  }

  /** Good until the next call. */
  compress(bytes: Uint8Array): Buffer {
    const bound = zstd.compressBound(bytes.byteLength);
    let target = this.#target;
    if (target.byteLength < bound) {
      target = Buffer.allocUnsafeSlow(bound * 2 <= TARGET_BYTES_KEPT_MAX ? bound * 2 : bound);
      if (target.byteLength <= TARGET_BYTES_KEPT_MAX) {
        letGo(this.#target);
        this.#target = target;
      }
    }
    const size = this.#context.compress2(target, bytes);
    return target.subarray(0, size);
  }
}
