/**
 * A tiny protobuf encoder for tests: fields are written as told, in any order, known or not. Independent of src/wire/protobuf.ts.
 */
export class ProtobufWriter {
  readonly #parts: number[] = [];

  /** A varint of any 64-bit integer; negative ones as two's complement. */
  static varintBytes(value: number | bigint): number[] {
    let left = BigInt.asUintN(64, BigInt(value));
    const out: number[] = [];
    while (left > 127n) {
      out.push(Number(left & 127n) | 128);
      left >>= 7n;
    }
    out.push(Number(left));
    return out;
  }

  static zigzag(value: number | bigint): bigint {
    const wide = BigInt(value);
    return BigInt.asUintN(64, wide < 0n ? -wide * 2n - 1n : wide * 2n);
  }

  raw(bytes: Iterable<number>): this {
    for (const byte of bytes) this.#parts.push(byte);
    return this;
  }

  tag(field: number, wireType: number): this {
    return this.raw(ProtobufWriter.varintBytes(BigInt(field) * 8n + BigInt(wireType)));
  }

  varint(field: number, value: number | bigint): this {
    return this.tag(field, 0).raw(ProtobufWriter.varintBytes(value));
  }

  sint(field: number, value: number | bigint): this {
    return this.varint(field, ProtobufWriter.zigzag(value));
  }

  double(field: number, value: number): this {
    return this.tag(field, 1).raw(new Uint8Array(new Float64Array([value]).buffer));
  }

  fixed64(field: number, value: bigint): this {
    return this.tag(field, 1).raw(new Uint8Array(new BigUint64Array([BigInt.asUintN(64, value)]).buffer));
  }

  float(field: number, value: number): this {
    return this.tag(field, 5).raw(new Uint8Array(new Float32Array([value]).buffer));
  }

  bytes(field: number, value: Uint8Array): this {
    return this.tag(field, 2).raw(ProtobufWriter.varintBytes(value.byteLength)).raw(value);
  }

  string(field: number, value: string): this {
    return this.bytes(field, Buffer.from(value, 'utf8'));
  }

  message(field: number, fill: (inner: ProtobufWriter) => void): this {
    const inner = new ProtobufWriter();
    fill(inner);
    return this.bytes(field, inner.finish());
  }

  packedVarint(field: number, values: Iterable<number | bigint>): this {
    return this.bytes(field, Uint8Array.from([...values].flatMap((value) => ProtobufWriter.varintBytes(value))));
  }

  packedSint(field: number, values: Iterable<number | bigint>): this {
    return this.packedVarint(
      field,
      [...values].map((value) => ProtobufWriter.zigzag(value)),
    );
  }

  packedDouble(field: number, values: readonly number[]): this {
    return this.bytes(field, new Uint8Array(new Float64Array(values).buffer));
  }

  packedFloat(field: number, values: readonly number[]): this {
    return this.bytes(field, new Uint8Array(new Float32Array(values).buffer));
  }

  finish(): Uint8Array {
    return Uint8Array.from(this.#parts);
  }
}
