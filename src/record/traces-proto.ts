/**
 * `/api/v0.2/traces`: AgentPayload → tracer payloads → chunks → spans (datadog-agent pkg/proto/datadog/trace/*.proto).
 *
 * Beside the span rows there is one `payload` row: the request with the spans cut out of every chunk and the idx payloads emptied,
 * everything else byte for byte. Idx payloads (field 11, the v1 form) are opaque rows with shape `idx`.
 */
import { LENGTH_DELIMITED, ProtobufError, ProtobufReader, VARINT } from '../wire/protobuf.ts';
import { SpanDecoder } from './traces-proto-span.ts';
import type { SpanSink } from './traces-sink.ts';

const bytesTag = (field: number): number => (field << 3) | LENGTH_DELIMITED;

const TRACER_PAYLOADS_TAG = bytesTag(5);
const IDX_PAYLOADS_TAG = bytesTag(11);
const CHUNKS_TAG = bytesTag(6);
const SPANS_TAG = bytesTag(3);
const AGENT_TAGS_TAG = bytesTag(6);
const PAYLOAD_TAGS_TAG = bytesTag(7);
const CHUNK_TAGS_TAG = bytesTag(4);
const IDX_CHUNKS_TAG = bytesTag(11);
const IDX_SPANS_TAG = bytesTag(4);

/** Bytes put together piece by piece, with length-delimited fields around them. */
class Skeleton {
  #bytes = Buffer.allocUnsafe(256);
  length = 0;

  clear(): void {
    this.length = 0;
  }

  #reserve(count: number): void {
    if (this.#bytes.length - this.length >= count) return;
    const grown = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.length + count));
    grown.set(this.#bytes.subarray(0, this.length));
    this.#bytes = grown;
  }

  append(source: Buffer, from: number, to: number): void {
    this.#reserve(to - from);
    source.copy(this.#bytes, this.length, from, to);
    this.length += to - from;
  }

  /** A length-delimited field (tag below 128) with what `inner` holds. */
  field(tag: number, inner: Skeleton): void {
    this.#reserve(8 + inner.length);
    this.#bytes[this.length++] = tag;
    let left = inner.length;
    while (left > 127) {
      this.#bytes[this.length++] = (left & 127) | 128;
      left = Math.floor(left / 128);
    }
    this.#bytes[this.length++] = left;
    this.append(inner.#bytes, 0, inner.length);
  }

  take(): Buffer {
    return Buffer.from(this.#bytes.subarray(0, this.length));
  }
}

const EMPTY = new Skeleton();

class AgentPayloadDecoder {
  readonly #reader: ProtobufReader;
  readonly #sink: SpanSink;
  readonly #spans: SpanDecoder;
  readonly #agentSkeleton = new Skeleton();
  readonly #payloadSkeleton = new Skeleton();
  readonly #chunkSkeleton = new Skeleton();

  constructor(body: Uint8Array, sink: SpanSink) {
    this.#reader = new ProtobufReader(body);
    this.#sink = sink;
    this.#spans = new SpanDecoder(this.#reader, sink);
  }

  decode(): void {
    const reader = this.#reader;
    const sink = this.#sink;
    const payloads: number[] = [];
    const idxPayloads: number[] = [];
    let host: string | undefined;
    let env: string | undefined;
    this.#pass(this.#agentSkeleton, (tag) => {
      if (tag === TRACER_PAYLOADS_TAG) {
        payloads.push(reader.offset);
        reader.skip(LENGTH_DELIMITED);
        return true;
      }
      if (tag === IDX_PAYLOADS_TAG) {
        idxPayloads.push(reader.offset);
        reader.skip(LENGTH_DELIMITED);
        this.#agentSkeleton.field(tag, EMPTY);
        return true;
      }
      if (tag === bytesTag(1)) host = reader.string();
      else if (tag === bytesTag(2)) env = reader.string();
      else if (tag === AGENT_TAGS_TAG) this.#checkEntry();
      else reader.skip(tag & 7, tag >>> 3);
      return false;
    });
    const end = reader.offset;
    for (const [index, offset] of payloads.entries()) {
      reader.offset = offset;
      const outer = reader.enter();
      sink.beginPayload(index);
      sink.setContainer('host', host);
      sink.setContainer('env', env);
      this.#tracerPayload();
      reader.leave(outer);
      this.#agentSkeleton.field(TRACER_PAYLOADS_TAG, this.#payloadSkeleton);
    }
    for (const [index, offset] of idxPayloads.entries()) {
      reader.offset = offset;
      const outer = reader.enter();
      const raw = reader.buffer.subarray(reader.offset, reader.end);
      reader.leave(outer);
      sink.beginPayload(index);
      sink.beginChunk(0);
      sink.setContainer('host', host);
      sink.setContainer('env', env);
      sink.addOpaque(raw, 'idx', countIdxSpans(raw));
    }
    reader.offset = end;
    if (end > 0) sink.addWhole('payload', this.#agentSkeleton.take());
  }

  /** Passes every field of the message at hand; those for which `take` is false go into the skeleton as they are. */
  #pass(skeleton: Skeleton, take: (tag: number) => boolean): void {
    const reader = this.#reader;
    skeleton.clear();
    while (!reader.done()) {
      const at = reader.offset;
      if (!take(reader.tag())) skeleton.append(reader.buffer, at, reader.offset);
    }
  }

  /** Passes a map's entry and checks that it is a message; it stays in the skeleton. */
  #checkEntry(): void {
    const reader = this.#reader;
    const outer = reader.enter();
    while (!reader.done()) {
      const tag = reader.tag();
      reader.skip(tag & 7, tag >>> 3);
    }
    reader.leave(outer);
  }

  #tracerPayload(): void {
    const reader = this.#reader;
    const sink = this.#sink;
    const chunks: number[] = [];
    this.#pass(this.#payloadSkeleton, (tag) => {
      switch (tag) {
        case CHUNKS_TAG:
          chunks.push(reader.offset);
          reader.skip(LENGTH_DELIMITED);
          return true;
        case bytesTag(1):
          sink.setContainer('container_id', reader.string());
          return false;
        case bytesTag(2):
          sink.setContainer('language', reader.string());
          return false;
        case bytesTag(5):
          sink.setContainer('runtime_id', reader.string());
          return false;
        case bytesTag(8):
          sink.setContainer('env', reader.string());
          return false;
        case bytesTag(9):
          sink.setContainer('host', reader.string());
          return false;
        case bytesTag(10):
          sink.setContainer('app_version', reader.string());
          return false;
        case PAYLOAD_TAGS_TAG:
          this.#checkEntry();
          return false;
        default:
          reader.skip(tag & 7, tag >>> 3);
          return false;
      }
    });
    const end = reader.offset;
    for (const [index, offset] of chunks.entries()) {
      reader.offset = offset;
      const outer = reader.enter();
      this.#chunk(index);
      reader.leave(outer);
      this.#payloadSkeleton.field(CHUNKS_TAG, this.#chunkSkeleton);
    }
    reader.offset = end;
  }

  #chunk(index: number): void {
    const reader = this.#reader;
    const sink = this.#sink;
    const spans: number[] = [];
    // Absent in proto3 is zero.
    let priority: number | undefined = 0;
    sink.beginChunk(index);
    this.#pass(this.#chunkSkeleton, (tag) => {
      if (tag === SPANS_TAG) {
        spans.push(reader.offset);
        reader.skip(LENGTH_DELIMITED);
        return true;
      }
      if (tag === ((1 << 3) | VARINT)) {
        priority = Number(BigInt.asIntN(32, reader.int64()));
      } else if (tag === bytesTag(2)) {
        sink.setContainer('origin', reader.string());
      } else if (tag === CHUNK_TAGS_TAG) {
        this.#checkEntry();
      } else {
        reader.skip(tag & 7, tag >>> 3);
      }
      return false;
    });
    const end = reader.offset;
    sink.setPriority(priority);
    sink.expectRows(spans.length);
    for (const offset of spans) {
      reader.offset = offset;
      const outer = reader.enter();
      this.#spans.decode();
      reader.leave(outer);
    }
    reader.offset = end;
  }
}

/** Decodes a whole body; throws `ProtobufError` on what is no AgentPayload. */
export function decodeAgentPayload(body: Uint8Array, sink: SpanSink): void {
  new AgentPayloadDecoder(body, sink).decode();
}

/** Spans of an idx payload; 1 when its bytes are not as we know them (they are kept either way). */
function countIdxSpans(payload: Uint8Array): number {
  const reader = new ProtobufReader(payload);
  let spans = 0;
  try {
    while (!reader.done()) {
      const tag = reader.tag();
      if (tag !== IDX_CHUNKS_TAG) {
        reader.skip(tag & 7, tag >>> 3);
        continue;
      }
      const outer = reader.enter();
      while (!reader.done()) {
        const inner = reader.tag();
        if (inner === IDX_SPANS_TAG) spans += 1;
        reader.skip(inner & 7, inner >>> 3);
      }
      reader.leave(outer);
    }
  } catch (error) {
    if (!(error instanceof ProtobufError)) throw error;
    return 1;
  }
  return spans;
}
