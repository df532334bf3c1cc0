/** One zstd context per level, used again from page to page. Frames carry a checksum, so that rotten bytes do not decode. */
import zstd from 'zstd-napi/binding.js';

export class Compressor {
  readonly #context = new zstd.CCtx();

  constructor(level: number) {
    this.#context.setParameter(zstd.CParameter.compressionLevel, level);
    this.#context.setParameter(zstd.CParameter.checksumFlag, 1);
  }

  compress(bytes: Uint8Array): Buffer {
    const target = Buffer.allocUnsafe(zstd.compressBound(bytes.byteLength));
    const size = this.#context.compress2(target, bytes);
    return target.subarray(0, size);
  }
}
