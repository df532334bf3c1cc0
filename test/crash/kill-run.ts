/**
 * Promises 1 to 4 on a real process, for any store: killed with SIGKILL at random moments and at named points, under load, again and again, on one
 * data folder. At the end everything acknowledged is in the archive exactly once and at the vendor at least once, by the
 * test's own ledger. Bodies span hours and signals; some are equal on purpose; clients retry lost answers.
 */
import { gzipSync } from 'node:zlib';
import { Agent, request } from 'undici';
import { expect } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import { type FakeVendor, startFakeVendor, type VendorScript } from '../support/fake-vendor.ts';
import { expectFinished } from '../support/fleet-load.ts';
import type { KillPoint } from '../support/killing-file-system.ts';
import { type ProxyProcess, runCli, startProxy } from '../support/proxy-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const KEY = '0123456789abcdef0123456789abcdef';
const CLIENTS = 6;
/** Shorter than the 5 s within which the proxy takes its own answer for heard: it must see for itself that a client gave up. */
const PATIENCE_MS = 4_000;
const HOUR_S = 3600;

interface Sent {
  signal: 'logs' | 'metrics';
  id: string;
}

/** What was acknowledged: id → how often it must be in the archive. */
class Ledger {
  readonly acknowledged = new Map<string, number>();
  count = 0;

  add(sent: Sent): void {
    const key = `${sent.signal}:${sent.id}`;
    this.count += 1;
    this.acknowledged.set(key, (this.acknowledged.get(key) ?? 0) + 1);
  }
}

function bodyOf(sent: Sent, random: () => number): { path: string; body: Buffer; headers: Record<string, string> } {
  const nowS = Math.floor(Date.now() / 1000);
  const headers: Record<string, string> = { 'content-type': 'application/json', 'dd-api-key': KEY };
  if (sent.signal === 'logs') {
    const body = JSON.stringify([
      {
        message: `log ${sent.id}`,
        service: 'kill',
        id: sent.id,
        timestamp: (nowS - HOUR_S * Math.floor(random() * 4)) * 1000,
      },
    ]);
    return { path: '/api/v2/logs', body: gzipSync(body), headers: { ...headers, 'content-encoding': 'gzip' } };
  }
  // Points in several hours: the rows of one item land in different segments.
  const points = [0, 1, 2].map((hour) => ({ timestamp: nowS - hour * HOUR_S, value: random() }));
  const body = JSON.stringify({ series: [{ metric: 'kill.count', type: 1, points, tags: [`id:${sent.id}`] }] });
  return { path: '/api/v2/series', body: Buffer.from(body), headers };
}

class Load {
  stopped = false;
  url = '';
  /** When the last body that is equal on purpose was acknowledged. */
  lastEqualAtMs = 0;
  readonly ledger = new Ledger();
  readonly #agent = new Agent({
    connections: CLIENTS,
    headersTimeout: PATIENCE_MS,
    bodyTimeout: PATIENCE_MS,
    connectTimeout: 2000,
  });
  readonly clients: Promise<void>[] = [];

  start(seed: number): void {
    for (let client = 0; client < CLIENTS; client++)
      this.clients.push(this.#run(client, seededRandom(seed * 100 + client).next));
  }

  async #run(client: number, random: () => number): Promise<void> {
    // The last client sends one and the same body on purpose, again and again.
    const same = client === CLIENTS - 1 ? { signal: 'logs' as const, id: 'equal' } : undefined;
    const fixed = same && bodyOf(same, () => 0);
    for (let n = 0; !this.stopped; n++) {
      const sent: Sent = same ?? { signal: random() < 0.5 ? 'logs' : 'metrics', id: `${client}-${n}` };
      const message = fixed ?? bodyOf(sent, random);
      if (await this.#deliver(message)) {
        this.ledger.add(sent);
        if (same) this.lastEqualAtMs = performance.now();
      }
      await new Promise((resolve) => setTimeout(resolve, random() * 4));
    }
  }

  /** Sends the same bytes until they are acknowledged, as an agent does. */
  async #deliver(message: ReturnType<typeof bodyOf>): Promise<boolean> {
    for (let attempt = 0; attempt < 2000; attempt++) {
      try {
        const answer = await request(this.url + message.path, {
          method: 'POST',
          body: message.body,
          headers: message.headers,
          dispatcher: this.#agent,
        });
        await answer.body.dump();
        if (answer.statusCode === 202) return true;
        if (answer.statusCode !== 503) throw new Error(`unexpected status ${answer.statusCode}`);
      } catch (error) {
        if (String(error).includes('unexpected status')) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return false;
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await Promise.all(this.clients);
    await this.#agent.destroy();
  }
}

/** Reached once per flush, or less. */
const RARE_POINTS: ReadonlySet<string> = new Set<KillPoint>([
  'segment-link',
  'commit-link',
  'journal-delete',
  'spill-link',
  'dead-letter-link',
]);
/** An answer this close to a death may not have been confirmed. */
const UNTOLD_MS = 20;
const NAMED_LIFE_MS_MAX = 8000;
/** What makes the vendor lead us to a point. */
const VENDOR_SCRIPTS: Partial<Record<KillPoint, VendorScript>> = {
  'spill-link': () => ({ status: 503 }),
  'dead-letter-link': () => ({ status: 413 }),
};

export interface KillRunOptions {
  kills: number;
  /** On a machine where a start takes many seconds fewer lives fit into a run; how many it were is told. */
  secondsMax?: number;
  /** Names the store. Default: a folder in the data folder. */
  storeEnv?: Record<string, string>;
  /**
   * What was heard is told by the next chunk only, and that may be cut already: of the bodies that are equal on purpose each death may
   * take two for retries. And lives that ended are finished by the next one beside its own work.
   */
  journalInStore?: boolean;
  /** Points at which every other life ends; those of the local store exist only there. */
  points: readonly KillPoint[];
}

/** Throws where the promises do not hold; tells what it did. */
export async function runKills({
  kills,
  secondsMax = 3600,
  storeEnv = {},
  journalInStore = false,
  points,
}: KillRunOptions): Promise<string> {
  const vendor = await startFakeVendor({ apiKeys: [KEY] });
  try {
    return await run(vendor, { kills, secondsMax, storeEnv, journalInStore, points });
  } finally {
    await vendor.close();
  }
}

async function run(
  vendor: FakeVendor,
  { kills, secondsMax, storeEnv, journalInStore, points }: Required<KillRunOptions>,
): Promise<string> {
  const folder = await temporaryFolder();
  const env = {
    FORWARD_TO: vendor.url,
    DATADOG_API_KEY: KEY,
    LOG_LEVEL: 'info',
    REDUCTRAI_ARCHIVE_FLUSH_AFTER: '150ms',
    REDUCTRAI_JOURNAL_FILE_BYTES_MAX: '1MiB',
    REDUCTRAI_JOURNAL_BUDGET_BYTES: '64MiB',
    REDUCTRAI_INTAKE_DECODE_WORKERS: '1',
    ...storeEnv,
  };
  const random = seededRandom(7).next;
  const load = new Load();
  const killed: Record<string, number> = {};
  let untold = 0;
  const spentMs = { starting: 0, living: 0 };
  const endsAtMs = performance.now() + secondsMax * 1000;
  let lives = 0;
  for (let life = 0; life < kills && performance.now() < endsAtMs; life++) {
    lives += 1;
    // Killed between an answer and its confirmation, an equal body sent next cannot be told from a retry (promise 2).
    const named = points.length > 0 && life % 2 === 0;
    const point = points[Math.floor(life / 2) % points.length] ?? 'journal-append';
    const when = life % 4 === 0 && point !== 'confirm-write' ? 'before' : 'after';
    const isRare = RARE_POINTS.has(point);
    const killAt = named ? `${point}:${when}:${1 + Math.floor(random() * (isRare ? 2 : 12))}` : undefined;
    vendor.script(named ? VENDOR_SCRIPTS[point] : undefined);
    const lifeEnv = named && point === 'spill-link' ? { ...env, REDUCTRAI_FORWARD_SPILL_SHARE: '0.01' } : env;
    let proxy: ProxyProcess;
    const startingAtMs = performance.now();
    try {
      proxy = await startProxy({ dataFolder: folder, env: lifeEnv, ...(killAt ? { killAt } : {}) });
    } catch (error) {
      // Killed while it was still starting: that counts too.
      if (!killAt || !String(error).includes('SIGKILL')) throw error;
      killed[killAt] = (killed[killAt] ?? 0) + 1;
      continue;
    }
    spentMs.starting += performance.now() - startingAtMs;
    const bornAtMs = performance.now();
    load.url = proxy.url;
    if (load.clients.length === 0) load.start(1);
    // The life counts from its first acknowledgement: starting takes longer than living.
    const before = load.ledger.count;
    const startedMs = Date.now();
    while (
      proxy.child.exitCode === null &&
      proxy.child.signalCode === null &&
      load.ledger.count === before &&
      Date.now() - startedMs < 8000
    ) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const pause = new Promise((resolve) => setTimeout(resolve, named ? NAMED_LIFE_MS_MAX : random() * 500));
    await Promise.race([proxy.exited, pause]);
    if (proxy.child.exitCode !== null) throw new Error(`proxy ended by itself:\n${proxy.lines.slice(-20).join('\n')}`);
    const label = proxy.child.signalCode === 'SIGKILL' ? killAt! : 'random';
    killed[label] = (killed[label] ?? 0) + 1;
    const diedAtMs = performance.now();
    spentMs.living += diedAtMs - bornAtMs;
    await proxy.kill('SIGKILL');
    // Also answers that were on their way through this process while the other died.
    await new Promise((resolve) => setTimeout(resolve, UNTOLD_MS));
    if (load.lastEqualAtMs > diedAtMs - UNTOLD_MS) untold += 1;
  }
  vendor.script(undefined);
  const last = await startProxy({ dataFolder: folder, env });
  load.url = last.url;
  // Every life before may have ended while it was still starting.
  if (load.clients.length === 0) load.start(1);
  await expect.poll(() => load.ledger.acknowledged.size, { timeout: 60_000 }).toBeGreaterThan(lives);
  await load.stop();
  // What the vendor has not taken when a process ends stays for the next life: the last one must deliver it all.
  const deadlineMs = Date.now() + 120_000;
  let pending = { vendor: -1, archive: -1 };
  do {
    await new Promise((resolve) => setTimeout(resolve, 100));
    const status = (await (await request(`${last.url}/status`)).body.json()) as {
      books: { forward: { datadog: { pending: number } } };
      archive: { pendingEnvelopes: number };
    };
    pending = { vendor: status.books.forward.datadog.pending, archive: status.archive.pendingEnvelopes };
  } while ((pending.vendor !== 0 || pending.archive !== 0) && Date.now() < deadlineMs);
  expect(pending).toEqual({ vendor: 0, archive: 0 });
  if (journalInStore) await expectFinished({ DATA_DIR: folder, ...storeEnv });
  last.child.kill('SIGTERM');
  const end = await last.exited;
  expect(end, last.lines.slice(-20).join('\n')).toEqual({ code: 0, signal: null });

  const { acknowledged } = load.ledger;
  const archived = new Map<string, number>();
  const count = (key: string) => archived.set(key, (archived.get(key) ?? 0) + 1);
  for (const signal of ['logs', 'metrics'] as const) {
    const { stdout, stderr, code } = await runCli(['export', '--signal', signal], { DATA_DIR: folder, ...storeEnv });
    expect(code, stderr).toBe(0);
    for (const line of stdout.split('\n')) {
      if (line === '') continue;
      const item = JSON.parse(line);
      if (signal === 'metrics') expect(item.points.length).toBe(3);
      count(`${signal}:${signal === 'logs' ? item.id : item.tags[0].slice(3)}`);
    }
  }
  // An answer had just left when the process died, and its confirmation was not on disk: the equal body that came next may count
  // as a retry, which is as far as any protocol without request ids can tell. The window is some ten microseconds wide: seldom
  // met, never twice by one death.
  const missing = acknowledged.get('logs:equal')! - (archived.get('logs:equal') ?? 0);
  expect(missing).toBeGreaterThanOrEqual(0);
  expect(missing).toBeLessThanOrEqual(journalInStore ? 2 * lives : Math.min(untold, Math.ceil(kills / 30)));
  const wrong = [...acknowledged]
    .filter(([key, times]) => key !== 'logs:equal' && archived.get(key) !== times)
    .map(([key, times]) => `${key}: acknowledged ${times}, archived ${archived.get(key) ?? 0}`);
  expect(wrong).toEqual([]);

  const atVendor = new Set<string>();
  // What it refused for good (413) it has seen, and we keep as a dead letter.
  for (const seen of vendor.requests.filter(({ status }) => (status >= 200 && status < 300) || status === 413)) {
    const text =
      seen.headers['content-encoding'] === 'gzip'
        ? (await import('node:zlib')).gunzipSync(seen.body).toString()
        : seen.body.toString();
    for (const found of text.matchAll(/"id":"([^"]+)"|"id:([^"]+)"/g))
      atVendor.add(found[1] ? `logs:${found[1]}` : `metrics:${found[2]}`);
  }
  expect([...acknowledged.keys()].filter((key) => !atVendor.has(key))).toEqual([]);
  expect(vendor.violations).toEqual([]);
  return `${lives} kills: ${acknowledged.size} envelopes, ${acknowledged.get('logs:equal')} equal on purpose (${missing} taken for retries; ${untold} deaths within ${UNTOLD_MS} ms of their answer), ${Math.round(spentMs.starting / 1000)} s starting, ${Math.round(spentMs.living / 1000)} s living; ${JSON.stringify(killed)}`;
}
