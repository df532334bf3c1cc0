/**
 * Repeated fields and metadata of series and sketches as JSON texts. Series of one sender repeat them byte for byte, so that
 * most are found by their bytes and not read again.
 */
import { NULL_ID } from '../core/columns.ts';
import { jsonOfMessage, MESSAGES } from '../wire/datadog/series-messages.ts';
import { ProtobufError, ProtobufReader } from '../wire/protobuf.ts';
import type { StringWriter } from './batch-builder.ts';
import type { MetricRows } from './metrics-rows.ts';

export interface Entry {
  id: number;
  exact: boolean;
  host: number;
  device: number;
}

/** JSON of repeated fields, looked up by the bytes they were sent as: series of one sender repeat them. */
export class FieldCache {
  readonly #entries = new Map<string, Entry>();
  readonly #writer: StringWriter;
  readonly #make: (reader: ProtobufReader, entry: Entry) => string;

  constructor(writer: StringWriter, make: (reader: ProtobufReader, entry: Entry) => string) {
    this.#writer = writer;
    this.#make = make;
  }

  /** `bytes` stand at `offset` of the body. */
  entry(bytes: Buffer, offset: number): Entry {
    const key = bytes.toString('latin1');
    const known = this.#entries.get(key);
    if (known) return known;
    const entry: Entry = { id: NULL_ID, exact: true, host: NULL_ID, device: NULL_ID };
    entry.id = this.#writer.intern(within(offset, () => this.#make(new ProtobufReader(bytes), entry)));
    this.#entries.set(key, entry);
    return entry;
  }
}

/** The bytes of a repeated field's occurrences, mostly one run. */
export class FieldRun {
  #start = 0;
  #end = 0;
  #earlier: Buffer[] = [];

  clear(): void {
    this.#start = 0;
    this.#end = 0;
    if (this.#earlier.length > 0) this.#earlier = [];
  }

  get isEmpty(): boolean {
    return this.#end === this.#start;
  }

  get start(): number {
    return this.#start;
  }

  /** Adds the field whose tag, at `start`, was read, and the same ones that follow it. */
  read(reader: ProtobufReader, tag: number, start: number): void {
    const { buffer } = reader;
    reader.skip(2);
    while (!reader.done() && buffer[reader.offset] === tag) {
      reader.offset += 1;
      reader.skip(2);
    }
    if (this.#end !== this.#start && this.#end !== start) {
      this.#earlier.push(buffer.subarray(this.#start, this.#end));
      this.#start = start;
    } else if (this.#end === this.#start) {
      this.#start = start;
    }
    this.#end = reader.offset;
  }

  bytes(buffer: Buffer): Buffer {
    const last = buffer.subarray(this.#start, this.#end);
    return this.#earlier.length === 0 ? last : Buffer.concat([...this.#earlier, last]);
  }
}

export function tagsJson(reader: ProtobufReader, entry: Entry): string {
  const tags: string[] = [];
  while (!reader.done()) {
    reader.tag();
    tags.push(reader.string());
    if (!reader.stringExact) entry.exact = false;
  }
  return JSON.stringify(tags);
}

export function resourcesJson(reader: ProtobufReader, entry: Entry, rows: MetricRows): string {
  const texts: string[] = [];
  while (!reader.done()) {
    reader.tag();
    const { text, exact } = jsonOfMessage(reader.message(), MESSAGES.resource);
    if (!exact) entry.exact = false;
    texts.push(text);
    const { type, name } = JSON.parse(text) as { type?: string; name?: string };
    if (name === undefined) continue;
    if (type === 'host' && entry.host === NULL_ID) entry.host = rows.hosts.intern(name);
    if (type === 'device' && entry.device === NULL_ID) entry.device = rows.devices.intern(name);
  }
  return `[${texts.join(',')}]`;
}

export function metadataJson(reader: ProtobufReader, entry: Entry): string {
  const { text, exact } = jsonOfMessage(reader, MESSAGES.metadata);
  entry.exact = exact;
  return text;
}

/** Runs `read` over bytes that stand at `offset` of the body, so that errors name the place in the body. */
export function within<T>(offset: number, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof ProtobufError) throw new ProtobufError(error.message, error.offset + offset);
    throw error;
  }
}
