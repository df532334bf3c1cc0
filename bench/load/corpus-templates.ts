/**
 * Bodies of the corpus in the forms that agents send, their times moved to now. All sources of a form come equally often, but for those
 * of large bodies: they come so seldom that none has more than a third of the form's bytes.
 */
import { createHash } from 'node:crypto';
import { MIB } from '../../src/core/limits.ts';
import { type Random, seededRandom } from '../../src/core/random.ts';
import { seriesProtobuf } from '../../test/support/corpus/metrics-bodies.ts';
import { reencodedSpans } from '../../test/support/corpus/traces-bodies.ts';
import { rawBodyAt } from '../forms.ts';
import { decodeBody, itemRows } from '../pipeline.ts';
import { corpusSources, loadSource, type SourceSignal } from '../sources.ts';
import { findStamps, stampCount, type TimeRange } from './stamps.ts';
import type { Encoding, Sending, Template } from './templates.ts';

type Form = 'series-proto' | 'series-json' | 'logs-json' | 'traces-msgpack';

/**
 * Forms by how many of them come in a minute. An agent sends series each 15 s and logs each 5 s, a tracer each second; one payload of
 * series in four is of a library, that is JSON.
 */
export const CORPUS_MIXES: Record<string, Partial<Record<Form, number>>> = {
  'corpus-mixed': { 'series-proto': 3, 'series-json': 1, 'logs-json': 12, 'traces-msgpack': 60 },
  'corpus-series-proto': { 'series-proto': 1 },
  'corpus-logs-json': { 'logs-json': 1 },
};

/** Far below what the proxy refuses when nothing is set. */
const BODY_BYTES_MAX = 4 * MIB;
/** Sendings until the first comes again: enough for the rarest source to be among them. */
const SENDINGS = 8192;
const SOURCE_BYTES_SHARE_MAX = 1 / 3;
/** Logs of a body may be days apart in the corpus, never in an agent's. */
const BODY_MS_MAX = 60_000;

/**
 * `bytesMax`: of JSON bodies of the corpus, shared equally by sources and forms; a source gives at least one body. `endMs`: last time of
 * each body, about. Equal arguments give equal bodies in the same order.
 */
export async function corpusSendings(mix: string, bytesMax: number, seed: number, endMs: number): Promise<Sending[]> {
  const sources = corpusSources();
  const shares = CORPUS_MIXES[mix];
  if (!sources || !shares) throw new Error(`BUG: no corpus for ${mix}`);
  const forms = Object.entries(shares) as [Form, number][];
  const sourcesOf = (form: Form) => sources.filter(({ signal }) => signal === FORMS[form].signal);
  const capBytes = bytesMax / forms.reduce((sum, [form]) => sum + sourcesOf(form).length, 0);
  const shareSum = forms.reduce((sum, [, share]) => sum + share, 0);
  const random = seededRandom(seed);
  const sendings: Sending[] = [];
  for (const [form, share] of forms) {
    const loaded = await Promise.all(sourcesOf(form).map((source) => loadSource(source, capBytes)));
    const seen = new Set<string>();
    const bySource = loaded
      .map(({ bodies }) => bodies.flatMap((body) => templateOf(form, body, endMs) ?? []))
      .map((templates) => templates.filter(({ raw }) => isNew(raw, seen)))
      .filter((templates) => templates.length > 0);
    const weights = sourceWeights(bySource.map(meanBytes));
    bySource.forEach((templates, i) => {
      const count = Math.max(1, Math.round((SENDINGS * share * weights[i]!) / shareSum));
      // Half of a source's each, in an order that follows from the seed.
      const encodings = Array.from({ length: count }, (_, n): Encoding => (n % 2 === 0 ? 'zstd' : 'identity'));
      shuffle(encodings, random);
      for (const [n, encoding] of encodings.entries())
        sendings.push({ template: templates[n % templates.length]!, encoding });
    });
  }
  shuffle(sendings, random);
  return sendings;
}

/** How often each of some sources comes, in sum 1, by the mean size of their bodies. */
export function sourceWeights(bytes: readonly number[]): number[] {
  const bytesShareMax = Math.max(SOURCE_BYTES_SHARE_MAX, 1 / bytes.length);
  let weights = bytes.map(() => 1);
  // Each turn takes from those above the share; what is left falls by a part each time.
  for (let turn = 0; turn < 200; turn++) {
    const sum = weights.reduce((total, weight, i) => total + weight * bytes[i]!, 0);
    weights = bytes.map((one) => Math.min(1, (bytesShareMax * sum) / one));
  }
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

const meanBytes = (templates: readonly Template[]): number =>
  templates.reduce((sum, { raw }) => sum + raw.byteLength, 0) / templates.length;

/**
 * Two bodies that are equal now would be equal after every sending; two that differ now always differ, as the last times of all are in
 * the same second and move by whole seconds.
 */
function isNew(raw: Buffer, seen: Set<string>): boolean {
  const digest = createHash('sha256').update(raw).digest('base64');
  return !seen.has(digest) && seen.add(digest) !== undefined;
}

interface FormFacts {
  signal: SourceSignal;
  method: string;
  path: string;
  contentType: string;
  /** Of the JSON body; `items` are series, logs or spans. */
  encode(json: Buffer): { raw: Buffer; items: number; headers?: Record<string, string> };
}

const count = (json: Buffer): number => (JSON.parse(json.toString('utf8')) as unknown[]).length;

const FORMS: Record<Form, FormFacts> = {
  'series-proto': {
    signal: 'metrics',
    method: 'POST',
    path: '/api/v2/series',
    contentType: 'application/x-protobuf',
    encode: (json) => {
      const { body, items } = seriesProtobuf(json.toString('utf8'));
      return { raw: Buffer.from(body), items: items.length };
    },
  },
  'series-json': {
    signal: 'metrics',
    method: 'POST',
    path: '/api/v2/series',
    contentType: 'application/json',
    encode: (json) => {
      const { series } = JSON.parse(json.toString('utf8')) as { series: unknown[] };
      return { raw: json, items: series.length };
    },
  },
  'logs-json': {
    signal: 'logs',
    method: 'POST',
    path: '/api/v2/logs',
    contentType: 'application/json',
    encode: (json) => ({ raw: json, items: count(json) }),
  },
  'traces-msgpack': {
    signal: 'traces',
    method: 'PUT',
    path: '/v0.4/traces',
    contentType: 'application/msgpack',
    encode: (json) => {
      const { body, items } = reencodedSpans(json.toString('utf8'), '').find(({ path }) => path === '/v0.4/traces')!;
      return {
        raw: Buffer.from(body),
        items: items.length,
        headers: { 'x-datadog-trace-count': String(count(json)) },
      };
    },
  },
};

/** Undefined when it is too large, or has no time: it would be the same each time it is sent. */
function templateOf(form: Form, body: Buffer, endMs: number): Template | undefined {
  const { signal, method, path, contentType, encode } = FORMS[form];
  const moved = movedTo(endMs, body);
  if (moved === undefined || body.byteLength > BODY_BYTES_MAX) return undefined;
  const { raw, items, headers = {} } = encode(moved.json);
  const stamps = findStamps(raw, contentType, moved.range);
  if (stampCount(stamps) === 0) throw new Error(`BUG: the times of a body of ${form} were not found`);
  const { batch } = decodeBody(rawBodyAt(signal, path, contentType, raw), 0);
  return {
    signal,
    method,
    path,
    headers: { 'content-type': contentType, ...headers },
    raw,
    stamps,
    items,
    rows: itemRows(batch),
    sent: 0,
  };
}

/** Times of items: of points in seconds, of logs in milliseconds, of spans in nanoseconds. Quotes within texts are escaped. */
const TIMES = /(?<="(?:timestamp|start)":)(?:\d{10}|\d{13}|\d{19})(?!\d)/g;

/** Its times by whole seconds to `endMs` at last, and nearer to each other where they are far apart. Times in texts stay. */
function movedTo(endMs: number, body: Buffer): { json: Buffer; range: TimeRange } | undefined {
  const text = body.toString('latin1');
  let firstMs = Number.POSITIVE_INFINITY;
  let lastMs = 0;
  for (const [time] of text.matchAll(TIMES)) {
    const ms = msOf(time);
    firstMs = Math.min(firstMs, ms);
    lastMs = Math.max(lastMs, ms);
  }
  if (lastMs === 0) return undefined;
  const newLastMs = (Math.floor(endMs / 1000) - 1) * 1000 + (lastMs % 1000);
  const scale = Math.min(1, BODY_MS_MAX / (lastMs - firstMs));
  const json = text.replace(TIMES, (time) => {
    const ms = newLastMs - Math.round((lastMs - msOf(time)) * scale);
    return time.length < 13 ? String(Math.floor(ms / 1000)) : String(ms) + time.slice(13);
  });
  // A second more than needed: times in whole seconds are rounded, and below a millisecond there is more.
  const range = { fromMs: newLastMs - BODY_MS_MAX - 1000, toMs: newLastMs + 1000 };
  return { json: Buffer.from(json, 'latin1'), range };
}

const msOf = (time: string): number => (time.length < 13 ? Number(time) * 1000 : Number(time.slice(0, 13)));

/** Fisher and Yates. */
function shuffle(list: unknown[], random: Random): void {
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(random.next() * (i + 1));
    [list[i], list[j]] = [list[j], list[i]];
  }
}
