/**
 * Real telemetry through the real process: a seeded sample of every corpus source (all of it with CORPUS_SHARE=1) goes in over HTTP
 * as JSON, protobuf or msgpack (each body in one form; in all of them with CORPUS_FORMS=all) in every content encoding. What
 * `export` gives back must equal it item by item, and the vendor (for tracers' routes the Agent) must have received every body
 * byte-identical.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { constants, deflate, gzip, zstdCompress } from 'node:zlib';
import { Agent, request } from 'undici';
import { describe, expect, test, vi } from 'vitest';
import { canonicalItems, canonicalJson } from '../support/corpus/canonical-json.ts';
import { Ledger } from '../support/corpus/ledger.ts';
import { seriesJson, seriesProtobuf, seriesV1Json, sketches } from '../support/corpus/metrics-bodies.ts';
import type { SentBody } from '../support/corpus/sent-body.ts';
import {
  type CorpusBody,
  type CorpusSource,
  findCorpus,
  lines,
  listSources,
  readBodies,
  type SourceCount,
  type SourceKind,
  seeded,
} from '../support/corpus/sources.ts';
import { containerOf, reencodedSpans, spansJson } from '../support/corpus/traces-bodies.ts';
import { type FakeVendor, startFakeVendor } from '../support/fake-vendor.ts';
import { BUNDLE, PROJECT, type ProxyProcess, startProxy } from '../support/proxy-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const SHARE = Number(process.env.CORPUS_SHARE || 0.05);
const SEED = process.env.CORPUS_SEED || 'corpus';
/** For looking at a part by hand; a run that counts has none. */
const ONLY = process.env.CORPUS_ONLY;
const IS_SAMPLE = SHARE < 1;
/** Each body in all forms, not in one of them: takes several times as long. */
const IN_ALL_FORMS = process.env.CORPUS_FORMS === 'all';
const KEY = '0123456789abcdef0123456789abcdef';
const KINDS: SourceKind[] = ['logs', 'metrics', 'traces'];
const CONVERTERS_AT_ONCE = 2;
const REQUESTS_AT_ONCE = 8;
const RETRIES_MAX = 600;
/** Forms beside JSON and v2 protobuf: of one body of so many. */
const RARE_FORM_EVERY = 4;

const root = findCorpus();
// In CI the corpus is there, and a test left out is a failure.
const skipReason = root === undefined && !process.env.CI ? ' [skipped: no corpus (REDUCTRAI_CORPUS or ../shared)]' : '';

/** What a body was sent as, by what the vendor must have received: path, content encoding, hash. */
type Received = Map<string, number>;

/** A source as converted, and how many items of its bodies were sent (each in several forms). */
interface SentCount extends SourceCount {
  sampledItems: number;
}

interface Form {
  requests: number;
  items: number;
  bytes: number;
}

const COMPRESSORS: Record<string, (body: Uint8Array) => Promise<Uint8Array>> = {
  identity: async (body) => body,
  gzip: (body) => promisify(gzip)(body, { level: 1 }),
  deflate: (body) => promisify(deflate)(body, { level: 1 }),
  zstd: (body) => promisify(zstdCompress)(body, { params: { [constants.ZSTD_c_compressionLevel]: 1 } }),
};

describe.skipIf(skipReason !== '')(`the corpus${skipReason}`, () => {
  test(`${SHARE * 100} % of every source comes back equal and reaches the vendor byte-identical`, {
    timeout: IS_SAMPLE ? 1_200_000 : 5_400_000,
    retry: 0,
  }, async () => {
    if (root === undefined) throw new Error('no corpus: set REDUCTRAI_CORPUS');
    const began = Date.now();
    const seconds = (): string => `${((Date.now() - began) / 1000).toFixed(1)} s`;
    const sources = listSources(root).filter((source) => !ONLY || source.name.includes(ONLY));
    expect(sources.length, 'sources found').toBeGreaterThan(0);
    const folder = await temporaryFolder();
    const checks = { keepBodies: false, checkBodies: IS_SAMPLE };
    const vendor = await startFakeVendor({ ...checks, apiKeys: [KEY] });
    const agent = await startFakeVendor({ ...checks, role: 'agent' });
    const proxy = await startProxy({
      dataFolder: folder,
      startWithinMs: 60_000,
      env: {
        FORWARD_TO: vendor.url,
        AGENT_URL: agent.url,
        DATADOG_API_KEY: KEY,
        REDUCTRAI_DRAIN_DEADLINE: '10m',
      },
    });
    try {
      const sender = new Sender(proxy.url);
      const counts = await sendAll(root, sources, sender);
      process.stdout.write(`${report(counts, sender.forms)}\nsent after ${seconds()}\n`);
      for (const count of counts) expectShare(count);

      await vi.waitFor(
        async () => {
          const { upstreams, books } = await status(proxy);
          for (const upstream of Object.values(upstreams)) expect(upstream.pending).toBe(0);
          expect(books.intake.balance).toBe(0);
          for (const forward of Object.values(books.forward)) expect(forward.deadLettered).toBe(0);
        },
        { timeout: IS_SAMPLE ? 300_000 : 1_800_000, interval: 200 },
      );
      expect([...vendor.violations, ...agent.violations]).toEqual([]);
      expect(differences(sender.received, receivedBy(vendor, agent))).toEqual([]);
      process.stdout.write(`delivered after ${seconds()}\n`);

      proxy.child.kill('SIGTERM');
      expect(await proxy.exited).toEqual({ code: 0, signal: null });
      const problems: Record<string, string[]> = {};
      for (const kind of KINDS) {
        problems[kind] = await sender.ledgers[kind].match(exported(kind, folder));
        const { requests, items } = sender.ledgers[kind];
        process.stdout.write(`${kind}: ${items} items of ${requests} requests compared after ${seconds()}\n`);
      }
      expect(problems).toEqual({ logs: [], metrics: [], traces: [] });
    } finally {
      await proxy.kill();
      await Promise.all([vendor.close(), agent.close()]);
    }
  });
});

/** Sends bodies, a bounded number at a time, and keeps what must come of them. */
class Sender {
  readonly received: Received = new Map();
  readonly ledgers: Record<SourceKind, Ledger> = { logs: new Ledger(), metrics: new Ledger(), traces: new Ledger() };
  readonly forms = new Map<string, Form>();
  readonly #url: string;
  readonly #agent = new Agent({ connections: REQUESTS_AT_ONCE });
  readonly #running = new Set<Promise<void>>();
  #failure: unknown;

  constructor(url: string) {
    this.#url = url;
  }

  /** Resolves when there is room for the next one. Throws what an earlier one failed with. */
  async send(sent: SentBody, label: string): Promise<void> {
    while (this.#running.size >= REQUESTS_AT_ONCE) await Promise.race(this.#running);
    if (this.#failure) throw this.#failure;
    const task = this.#send(sent, label)
      .catch((error: unknown) => {
        this.#failure ??= error;
      })
      .finally(() => this.#running.delete(task));
    this.#running.add(task);
  }

  async settle(): Promise<void> {
    await Promise.all(this.#running);
    await this.#agent.close();
    if (this.#failure) throw this.#failure;
  }

  async #send({ path, contentType, signal, body, items }: SentBody, label: string): Promise<void> {
    const encodings = Object.keys(COMPRESSORS);
    const encoding = encodings[Math.floor(seeded(`${SEED} encoding ${label}`) * encodings.length)]!;
    const compressed = await COMPRESSORS[encoding]!(body);
    this.ledgers[signal].expect(label, items);
    const header = encoding === 'identity' ? {} : { 'content-encoding': encoding };
    const expected = path === '/v1/input' || path.startsWith('/v0.') ? 200 : 202;
    for (let tries = 0; ; tries++) {
      const answer = await request(this.#url + path, {
        method: 'POST',
        dispatcher: this.#agent,
        body: compressed,
        headers: { 'content-type': contentType, 'dd-api-key': 'caller', ...header },
      });
      const text = await answer.body.text();
      if (answer.statusCode === expected) break;
      if (answer.statusCode !== 503 || tries >= RETRIES_MAX) {
        throw new Error(`${label} (${encoding}): ${answer.statusCode} ${text}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    add(this.received, receivedKey(path, encoding, createHash('sha256').update(compressed).digest('hex')));
    const name = `${signal} ${path} ${contentType.replace(/^application\/(x-)?/, '')}`;
    const form = this.forms.get(name) ?? { requests: 0, items: 0, bytes: 0 };
    this.forms.set(name, form);
    form.requests += 1;
    form.items += items.length;
    form.bytes += body.byteLength;
  }
}

/** Converts and sends all sources, a few at a time, the largest first. */
async function sendAll(corpus: string, sources: CorpusSource[], sender: Sender): Promise<SentCount[]> {
  const counts: SentCount[] = [];
  const queue = [...sources].sort((a, b) => Number(b.kind !== 'logs') - Number(a.kind !== 'logs'));
  const work = async (): Promise<void> => {
    for (let source = queue.shift(); source; source = queue.shift()) {
      const bodies = readBodies(corpus, source, SHARE, SEED);
      let sampledItems = 0;
      for (;;) {
        const next = await bodies.next();
        if (next.done) {
          counts.push({ ...next.value, sampledItems });
          break;
        }
        const forms = formsOf(next.value);
        sampledItems += forms[0]!.items.length;
        for (const [form, sent] of forms.entries()) {
          await sender.send(
            sent,
            `${source.name} body ${next.value.index} form ${form} ${sent.path} ${sent.contentType}`,
          );
        }
      }
    }
  };
  await Promise.all(Array.from({ length: CONVERTERS_AT_ONCE }, work));
  await sender.settle();
  return counts.sort((a, b) => (a.source < b.source ? -1 : 1));
}

/** One of the forms, chosen by chance. */
function inTurn(forms: (() => SentBody)[], seed: string): SentBody[] {
  return [forms[Math.floor(seeded(`${seed} turn`) * forms.length)]!()];
}

/** Everything that a converted body is sent as. */
function formsOf({ source, index, text }: CorpusBody): SentBody[] {
  const seed = `${SEED} ${source.name} ${index}`;
  const isRare = (form: string): boolean => seeded(`${seed} ${form}`) < 1 / RARE_FORM_EVERY;
  switch (source.kind) {
    case 'logs': {
      const items = canonicalItems(text, 'list');
      const path = isRare('input') ? '/v1/input' : '/api/v2/logs';
      return [{ path, contentType: 'application/json', signal: 'logs', body: Buffer.from(text), items }];
    }
    case 'metrics': {
      const rare = [() => sketches(text), () => seriesV1Json(text)];
      if (!IN_ALL_FORMS) return inTurn([() => seriesJson(text), () => seriesProtobuf(text), ...rare], seed);
      return [
        seriesJson(text),
        seriesProtobuf(text),
        ...(isRare('sketches') ? [sketches(text)] : []),
        ...(isRare('v1') ? [seriesV1Json(text)] : []),
      ];
    }
    case 'traces':
      if (!IN_ALL_FORMS) {
        const others = reencodedSpans(text, seed);
        return inTurn([() => spansJson(text), ...others.map((other) => () => other)], seed);
      }
      return [spansJson(text), ...reencodedSpans(text, seed)];
  }
}

/** Canonical texts of what `reductrai export` prints, one item after the other. */
async function* exported(kind: SourceKind, folder: string): AsyncGenerator<string> {
  const node = join(PROJECT, 'node_modules', 'node', 'bin', 'node');
  const child = spawn(node, [join(BUNDLE, 'main.js'), 'export', '--all', '--signal', kind], {
    cwd: PROJECT,
    env: {
      PATH: process.env.PATH ?? '',
      HOME: process.env.HOME ?? '',
      NODE_COMPILE_CACHE: join(PROJECT, 'node_modules', '.cache', 'compile'),
      DATA_DIR: folder,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const errors: Buffer[] = [];
  child.stderr.on('data', (chunk) => errors.push(chunk));
  const closed = once(child, 'close');
  for await (const line of lines(child.stdout)) {
    const text = line.toString('utf8');
    yield containerOf(text) ?? canonicalJson(text);
  }
  const [code] = await closed;
  if (code !== 0) throw new Error(`export ended with ${code}: ${Buffer.concat(errors).toString('utf8')}`);
}

/** The sample is as large as promised, by bodies, bytes and items. */
function expectShare({ source, bodies, bytes, items, sampledBodies, sampledBytes, sampledItems }: SentCount): void {
  expect(bodies, `${source}: bodies converted`).toBeGreaterThan(0);
  expect(sampledBodies / bodies, `${source}: share of bodies`).toBeGreaterThanOrEqual(SHARE);
  expect(sampledBytes / bytes, `${source}: share of bytes`).toBeGreaterThanOrEqual(SHARE);
  expect(sampledItems / items, `${source}: share of items`).toBeGreaterThanOrEqual(SHARE);
}

interface Status {
  upstreams: Record<string, { pending: number }>;
  books: { intake: { balance: number }; forward: Record<string, { deadLettered: number }> };
}

async function status(proxy: ProxyProcess): Promise<Status> {
  return (await (await request(`${proxy.url}/status`)).body.json()) as Status;
}

const receivedKey = (path: string, encoding: string, sha256: string): string => `${path} ${encoding} ${sha256}`;

function add(received: Received, key: string): void {
  received.set(key, (received.get(key) ?? 0) + 1);
}

function receivedBy(...vendors: FakeVendor[]): Received {
  const received: Received = new Map();
  for (const { path, headers, bodySha256 } of vendors.flatMap((vendor) => vendor.delivered())) {
    add(received, receivedKey(path, String(headers['content-encoding'] ?? 'identity'), bodySha256));
  }
  return received;
}

/** Bodies that were received more or less often than sent. */
function differences(sent: Received, received: Received): string[] {
  const keys = [...new Set([...sent.keys(), ...received.keys()])];
  return keys
    .filter((key) => sent.get(key) !== received.get(key))
    .slice(0, 20)
    .map((key) => `${key}: sent ${sent.get(key) ?? 0}, received ${received.get(key) ?? 0}`);
}

function report(counts: readonly SentCount[], forms: ReadonlyMap<string, Form>): string {
  const rows = counts.map(
    (count) =>
      `${count.source}: ${count.sampledBodies} of ${count.bodies} bodies, ${count.sampledBytes} of ${count.bytes} bytes, ${count.sampledItems} of ${count.items} items`,
  );
  const sent = [...forms].map(
    ([name, form]) => `${name}: ${form.requests} requests, ${form.items} items, ${form.bytes} bytes`,
  );
  return [...rows, ...sent.sort()].join('\n');
}
