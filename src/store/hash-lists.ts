/**
 * What was archived and surely answered, by the hashes of the bodies: so that an envelope in doubt (commit-log.ts) is recognised where its
 * sender came back with it to another replica. One object per flush, put before the commit record that names it; one that no record
 * names counts for nothing:
 * `hashes/<when cut>-<first received>-<replica>-<epoch>-<n>`, times in ms, 13 digits; gone once no doubt can be that old.
 *
 * Bytes: a line of JSON, `{"format":1,"journal":…,"receivedMinMs":…,"count":…,"heard"?:[[journal, position], …]}`, then per envelope the first 16 bytes of its body's
 * SHA-256 and, u32 little-endian, when it was received, ms after `receivedMinMs`.
 */
import { z } from 'zod';
import type { JournalIdentity, Position } from '../core/envelope.ts';
import { isProxyError, ProxyError } from '../core/errors.ts';
import type { ObjectReader } from './object-store.ts';

export const HASHES_PREFIX = 'hashes/';
const HASH_BYTES = 16;
const ENTRY_BYTES = HASH_BYTES + 4;
const TIME_DIGITS = 13;
const OFFSET_MS_MAX = 2 ** 32 - 1;

const headShape = z.strictObject({
  format: z.literal(1),
  journal: z.string().min(1),
  receivedMinMs: z.number().int(),
  count: z.number().int().nonnegative(),
  /** Journal and position of envelopes that were in doubt, and are no more. */
  heard: z.array(z.tuple([z.string().min(1), z.number().int()])).optional(),
});

export interface HashedEnvelope {
  /** Hexadecimal; its first 32 digits count. */
  bodyHash: string;
  receivedAtMs: number;
}

export interface HashList {
  /** `replica-epoch`. */
  journal: string;
  envelopes: HashedEnvelope[];
  /** Envelopes of this replica that were in doubt, and whose answer was heard after all. */
  heard: readonly HeardPlace[];
}

/** `replica-epoch`, and a position there. */
export type HeardPlace = [journal: string, position: Position];

export function hashListKey(identity: JournalIdentity, number: number, times: HashListTimes): string {
  const [cut, received] = [times.cutAtMs, times.receivedMinMs].map((ms) =>
    String(Math.max(0, Math.trunc(ms))).padStart(TIME_DIGITS, '0'),
  );
  return `${HASHES_PREFIX}${cut}-${received}-${identity.replica}-${identity.epoch}-${number}`;
}

export interface HashListTimes {
  cutAtMs: number;
  /** Nothing that it tells of was received before; 0 where it says what was heard of earlier flushes. */
  receivedMinMs: number;
}

/** Undefined for a key of another kind. */
export function hashListTimes(key: string): HashListTimes | undefined {
  const found = /^hashes\/(\d{13})-(\d{13})-/.exec(key);
  return found ? { cutAtMs: Number(found[1]), receivedMinMs: Number(found[2]) } : undefined;
}

const COLLECTED_BYTES = HASH_BYTES + 16;
const COLLECTED_AT_FIRST = 256;

/** Envelopes of one flush as they come, 32 bytes each. */
export class HashCollector {
  #bytes = Buffer.allocUnsafe(COLLECTED_AT_FIRST * COLLECTED_BYTES);
  #count = 0;
  #receivedMinMs = Number.POSITIVE_INFINITY;

  /** 0 where there is none. */
  get receivedMinMs(): number {
    return this.#count === 0 ? 0 : this.#receivedMinMs;
  }

  add(position: Position, { bodyHash, receivedAtMs }: HashedEnvelope): void {
    let at = this.#count * COLLECTED_BYTES;
    if (at === this.#bytes.byteLength) {
      const grown = Buffer.allocUnsafe(at * 2);
      this.#bytes.copy(grown);
      this.#bytes = grown;
    }
    at += this.#bytes.write(shortHash(bodyHash), at, 'hex');
    at = this.#bytes.writeDoubleLE(receivedAtMs, at);
    this.#bytes.writeDoubleLE(position, at);
    this.#count += 1;
    this.#receivedMinMs = Math.min(this.#receivedMinMs, Math.trunc(receivedAtMs));
  }

  /** The object's bytes, without those at these positions. */
  encode(identity: JournalIdentity, without: ReadonlySet<Position>, heard: readonly HeardPlace[] = []): Uint8Array {
    const kept: number[] = [];
    let receivedMinMs = Number.POSITIVE_INFINITY;
    for (let at = 0; at < this.#count * COLLECTED_BYTES; at += COLLECTED_BYTES) {
      if (without.has(this.#bytes.readDoubleLE(at + HASH_BYTES + 8))) continue;
      kept.push(at);
      receivedMinMs = Math.min(receivedMinMs, Math.trunc(this.#bytes.readDoubleLE(at + HASH_BYTES)));
    }
    const head = {
      format: 1,
      journal: `${identity.replica}-${identity.epoch}`,
      receivedMinMs: kept.length === 0 ? 0 : receivedMinMs,
      count: kept.length,
      ...(heard.length === 0 ? {} : { heard: [...heard] }),
    } satisfies z.infer<typeof headShape>;
    const line = Buffer.from(`${JSON.stringify(head)}\n`);
    const bytes = Buffer.alloc(line.byteLength + kept.length * ENTRY_BYTES);
    let to = line.copy(bytes);
    for (const at of kept) {
      to += this.#bytes.copy(bytes, to, at, at + HASH_BYTES);
      const afterMs = Math.trunc(this.#bytes.readDoubleLE(at + HASH_BYTES)) - receivedMinMs;
      to = bytes.writeUInt32LE(Math.min(OFFSET_MS_MAX, afterMs), to);
    }
    return bytes;
  }
}

/** STORE_CORRUPT when the bytes are none. Only envelopes with one of these (short) hashes are told. */
export function decodeHashList(key: string, bytes: Uint8Array, wanted: ReadonlySet<string>): HashList {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = buffer.indexOf('\n');
  let head: z.infer<typeof headShape>;
  try {
    head = headShape.parse(JSON.parse(buffer.toString('utf8', 0, end)));
  } catch (error) {
    throw new ProxyError('STORE_CORRUPT', `${key} is no list of hashes`, { cause: error });
  }
  if (buffer.byteLength !== end + 1 + head.count * ENTRY_BYTES) {
    throw new ProxyError('STORE_CORRUPT', `${key} is cut`);
  }
  const envelopes: HashedEnvelope[] = [];
  for (let at = end + 1; at < buffer.byteLength; at += ENTRY_BYTES) {
    const bodyHash = buffer.toString('hex', at, at + HASH_BYTES);
    if (!wanted.has(bodyHash)) continue;
    envelopes.push({ bodyHash, receivedAtMs: head.receivedMinMs + buffer.readUInt32LE(at + HASH_BYTES) });
  }
  return { journal: head.journal, envelopes, heard: head.heard ?? [] };
}

/** The form that hashes are compared in. */
export function shortHash(bodyHash: string): string {
  return bodyHash.slice(0, HASH_BYTES * 2).padEnd(HASH_BYTES * 2, '0');
}

/** Those that are gone are too old to matter. */
export async function* readHashLists(
  reader: ObjectReader,
  keys: readonly string[],
  wanted: ReadonlySet<string>,
): AsyncGenerator<HashList> {
  for (const key of keys) {
    let bytes: Uint8Array;
    try {
      ({ bytes } = await reader.get(key));
    } catch (error) {
      if (isProxyError(error, 'STORE_ABSENT')) continue;
      throw error;
    }
    yield decodeHashList(key, bytes, wanted);
  }
}
