/**
 * A small protobuf encoder for the demo's bodies: fields in the order they are written. Proto3 senders leave defaults out:
 * that is up to the caller. Grows one buffer; nested messages are copied in once.
 */
export class ProtobufWriter {
  #buffer = Buffer.allocUnsafe(256);
  #length = 0;

  varint(field: number, value: number | bigint): this {
    this.#varint(field * 8);
    this.#varint(value);
    return this;
  }

  sint(value: number): this {
    this.#varint(BigInt.asUintN(64, (BigInt(value) << 1n) ^ (BigInt(value) >> 63n)));
    return this;
  }

  /** Elements one after another without tags: the inside of a packed field. */
  element(value: number | bigint): this {
    this.#varint(value);
    return this;
  }

  double(field: number, value: number): this {
    this.#varint(field * 8 + 1);
    this.#reserve(8);
    this.#length = this.#buffer.writeDoubleLE(value, this.#length);
    return this;
  }

  bytes(field: number, value: Uint8Array): this {
    this.#varint(field * 8 + 2);
    this.#varint(value.byteLength);
    this.#reserve(value.byteLength);
    this.#buffer.set(value, this.#length);
    this.#length += value.byteLength;
    return this;
  }

  string(field: number, value: string): this {
    return this.bytes(field, Buffer.from(value));
  }

  message(field: number, fill: (inner: ProtobufWriter) => void): this {
    const inner = new ProtobufWriter();
    fill(inner);
    return this.bytes(field, inner.finish());
  }

  finish(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  /** Negative numbers as two's complement of 64 bits. */
  #varint(value: number | bigint): void {
    this.#reserve(10);
    let left = BigInt.asUintN(64, BigInt(value));
    while (left > 127n) {
      this.#buffer[this.#length++] = Number(left & 127n) | 128;
      left >>= 7n;
    }
    this.#buffer[this.#length++] = Number(left);
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#buffer.byteLength) return;
    const grown = Buffer.allocUnsafe(Math.max(this.#buffer.byteLength * 2, this.#length + count));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
  }
}
