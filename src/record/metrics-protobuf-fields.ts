/**
 * Repeated fields and metadata of series and sketches as JSON texts. Series of one sender repeat them byte for byte, so that
 * most are found by their bytes and not read again.
 */
import { NULL_ID } from '../core/columns.ts';
import { MIB } from '../core/limits.ts';
import { jsonOfMessage, MESSAGES } from '../wire/datadog/series-messages.ts';
import { ProtobufError, ProtobufReader } from '../wire/protobuf.ts';
import type { StringWriter } from './column-writers.ts';
import type { MetricRows } from './metrics-rows.ts';

export interface Entry {
  id: number;
  exact: boolean;
  host: number;
  device: number;
}

/** What the bytes of a field say, whoever sent them. */
export interface ReadField {
  text: string;
  exact: boolean;
  host?: string;
  device?: string;
}

export type FieldReader = (reader: ProtobufReader) => ReadField;

/** What is remembered, about; beyond it all is forgotten: what is still sent comes back soon. */
const REMEMBERED_BYTES_MAX = 8 * MIB;
/** What an entry takes beside its texts. */
const ENTRY_BYTES = 200;

/** Of all requests of this thread: senders repeat their fields from one request to the next. */
class RememberedFields {
  readonly #read: FieldReader;
  readonly #known = new Map<string, ReadField>();
  #bytes = 0;

  constructor(read: FieldReader) {
    this.#read = read;
  }

  get(key: string, bytes: Buffer, offset: number): ReadField {
    const known = this.#known.get(key);
    if (known) return known;
    const field = within(offset, () => this.#read(new ProtobufReader(bytes)));
    const bytesOfIt = ENTRY_BYTES + key.length + field.text.length;
    if (this.#bytes + bytesOfIt > REMEMBERED_BYTES_MAX) {
      this.#known.clear();
      this.#bytes = 0;
    }
    this.#bytes += bytesOfIt;
    this.#known.set(key, field);
    return field;
  }
}

/** JSON of repeated fields, looked up by the bytes they were sent as. */
export class FieldCache {
  readonly #entries = new Map<string, Entry>();
  readonly #writer: StringWriter;
  readonly #remembered: RememberedFields;
  readonly #rows: MetricRows;

  constructor(writer: StringWriter, kind: keyof typeof REMEMBERED, rows: MetricRows) {
    this.#writer = writer;
    this.#remembered = REMEMBERED[kind];
    this.#rows = rows;
  }

  /** `bytes` stand at `offset` of the body. */
  entry(bytes: Buffer, offset: number): Entry {
    const key = bytes.toString('latin1');
    const known = this.#entries.get(key);
    if (known) return known;
    const { text, exact, host, device } = this.#remembered.get(key, bytes, offset);
    const { hosts, devices } = this.#rows;
    const entry: Entry = {
      id: this.#writer.intern(text),
      exact,
      host: host === undefined ? NULL_ID : hosts.intern(host),
      device: device === undefined ? NULL_ID : devices.intern(device),
    };
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

function readTags(reader: ProtobufReader): ReadField {
  const tags: string[] = [];
  let exact = true;
  while (!reader.done()) {
    reader.tag();
    tags.push(reader.string());
    if (!reader.stringExact) exact = false;
  }
  return { text: JSON.stringify(tags), exact };
}

function readResources(reader: ProtobufReader): ReadField {
  const texts: string[] = [];
  const field: ReadField = { text: '', exact: true };
  while (!reader.done()) {
    reader.tag();
    const { text, exact } = jsonOfMessage(reader.message(), MESSAGES.resource);
    if (!exact) field.exact = false;
    texts.push(text);
    const { type, name } = JSON.parse(text) as { type?: string; name?: string };
    if (name === undefined) continue;
    if (type === 'host') field.host ??= name;
    if (type === 'device') field.device ??= name;
  }
  field.text = `[${texts.join(',')}]`;
  return field;
}

function readMetadata(reader: ProtobufReader): ReadField {
  const { text, exact } = jsonOfMessage(reader, MESSAGES.metadata);
  return { text, exact };
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

const REMEMBERED = {
  tags: new RememberedFields(readTags),
  resources: new RememberedFields(readResources),
  metadata: new RememberedFields(readMetadata),
};
