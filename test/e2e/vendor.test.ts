/**
 * The vendor misbehaves, the callers do not notice: on a real process, with a steady load, every condition has the outcome that
 * the design gives it. Each request is answered 202 throughout, and at the end the books balance.
 */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { systemRandom } from '../../src/core/random.ts';
import { createSealer } from '../../src/core/sealer.ts';
import { decodeParcels } from '../../src/forward/parcel-file.ts';
import { type FakeVendor, startFakeVendor, type VendorRequest } from '../support/fake-vendor.ts';
import { type ProxyProcess, startProxy } from '../support/proxy-process.ts';

const KEY = '0123456789abcdef0123456789abcdef';
const KIB = 1024;
const MIB = 1024 * KIB;
const sealer = createSealer([new Uint8Array(32)], systemRandom);

interface Status {
  journal: { bytes: number; budgetBytes: number };
  upstreams: { datadog: { pending: number; isPaused: boolean; spill: { objects: number; envelopes: number } } };
  books: {
    intake: { accepted: number; balance: number };
    archive: { balance: number };
    forward: {
      datadog: { addressed: number; delivered: number; deadLettered: number; pending: number; balance: number };
    };
  };
}

const until = (check: () => void | Promise<void>, timeout = 90_000): Promise<void> =>
  vi.waitFor(check, { timeout, interval: 50 });

async function getJson<T>(url: string): Promise<{ status: number; body: T }> {
  const answer = await request(url);
  return { status: answer.statusCode, body: (await answer.body.json()) as T };
}

const statusOf = async (proxy: ProxyProcess): Promise<Status> => (await getJson<Status>(`${proxy.url}/status`)).body;

/** Sum over all series of a metric with these words in their labels. */
async function metric(proxy: ProxyProcess, name: string, words = ''): Promise<number> {
  const text = await (await request(`${proxy.url}/metrics`)).body.text();
  return text
    .split('\n')
    .filter((line) => new RegExp(`^reductrai_${name}[{ ]`).test(line) && line.includes(words))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

let serial = 0;

async function send(proxy: ProxyProcess, message: string, filler = ''): Promise<number> {
  const answer = await request(`${proxy.url}/api/v2/logs`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'dd-api-key': 'caller' },
    body: JSON.stringify([filler === '' ? { message } : { message, filler }]),
  });
  await answer.body.dump();
  return answer.statusCode;
}

/** Callers that send on while `during` runs. Resolves to their messages once all are answered; each answer must be 202. */
async function underLoad(
  proxy: ProxyProcess,
  during: (sent: readonly string[]) => Promise<void>,
  prefix = 'm',
): Promise<string[]> {
  const sent: string[] = [];
  const answers: number[] = [];
  let isOver = false;
  const caller = async (): Promise<void> => {
    while (!isOver) {
      const message = `${prefix}-${serial++}`;
      sent.push(message);
      answers.push(await send(proxy, message));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  const callers = [caller(), caller(), caller()];
  try {
    await during(sent);
  } finally {
    isOver = true;
    await Promise.all(callers);
  }
  expect(answers).toHaveLength(sent.length);
  expect(answers.filter((status) => status !== 202)).toEqual([]);
  return sent;
}

const messageOf = ({ body }: VendorRequest): string =>
  (JSON.parse(Buffer.from(body).toString()) as { message: string }[])[0]!.message;

const deliveredTo = (vendor: FakeVendor): Set<string> => new Set(vendor.delivered().map(messageOf));

const missingAt = (vendor: FakeVendor, sent: readonly string[]): string[] => {
  const delivered = deliveredTo(vendor);
  return sent.filter((message) => !delivered.has(message));
};

async function expectBooks(proxy: ProxyProcess): Promise<Status['books']['forward']['datadog']> {
  await until(async () => {
    const { upstreams } = await statusOf(proxy);
    expect(upstreams.datadog.pending).toBe(0);
  });
  const { books } = await statusOf(proxy);
  expect(books.intake.balance).toBe(0);
  expect(books.archive.balance).toBe(0);
  const forward = books.forward.datadog;
  expect(forward.addressed).toBe(books.intake.accepted);
  expect(forward.addressed).toBe(forward.delivered + forward.pending + forward.deadLettered);
  expect(forward.balance).toBe(0);
  return forward;
}

describe('a vendor that misbehaves', () => {
  let folder: string;
  let vendor: FakeVendor;
  let proxy: ProxyProcess;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'reductrai-test-'));
    vendor = await startFakeVendor({ checkBodies: false });
    proxy = await startProxy({ dataFolder: folder, env: { FORWARD_TO: vendor.url, DATADOG_API_KEY: KEY } });
  });

  afterAll(async () => {
    await proxy?.kill();
    await vendor?.close();
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  });

  test('down: everything is delivered once it is up again', async () => {
    await vendor.down();
    const sent = await underLoad(proxy, async (soFar) => {
      await until(() => expect(soFar.length).toBeGreaterThan(50));
      await until(async () => expect(await metric(proxy, 'forward_breaker_open')).toBe(1));
      expect(vendor.requests).toEqual([]);
      await vendor.up();
    });
    await until(() => expect(missingAt(vendor, sent)).toEqual([]));
    expect((await expectBooks(proxy)).deadLettered).toBe(0);
  }, 120_000);

  test('slow: callers do not wait for it, and everything is delivered', async () => {
    let release = (): void => {};
    const released = new Promise<undefined>((resolve) => {
      release = () => resolve(undefined);
    });
    vendor.script(() => released);
    let sentBefore: string[] = [];
    const sent = await underLoad(proxy, async (soFar) => {
      await until(() => expect(soFar.length).toBeGreaterThan(100));
      // Not one of them had an answer from the vendor, all had one from us.
      sentBefore = [...soFar];
      expect(missingAt(vendor, sentBefore)).toEqual(sentBefore);
      vendor.script(() => ({ delayMs: 150 }));
      release();
      await until(() => expect(missingAt(vendor, sentBefore)).toEqual([]));
    });
    vendor.script(undefined);
    await until(() => expect(missingAt(vendor, sent)).toEqual([]));
    expect((await expectBooks(proxy)).deadLettered).toBe(0);
  }, 120_000);

  test('429 with Retry-After: nothing is sent before that time has passed, everything after', async () => {
    const waitMs = 3_000;
    const times: { atMs: number; status: number }[] = [];
    vendor.script(() => {
      const status = times.length === 0 ? 429 : 202;
      times.push({ atMs: performance.now(), status });
      return status === 429 ? { status, headers: { 'retry-after': String(waitMs / 1000) } } : undefined;
    });
    const first = `m-${serial++}`;
    expect(await send(proxy, first)).toBe(202);
    await until(async () => expect(await metric(proxy, 'forward_breaker_open')).toBe(1));
    const sent = await underLoad(proxy, async (soFar) => {
      await until(() => expect(soFar.length).toBeGreaterThan(50));
      await until(() => expect(times.length).toBeGreaterThan(1));
    });
    await until(() => expect(missingAt(vendor, [first, ...sent])).toEqual([]));
    vendor.script(undefined);
    expect(times[1]!.atMs - times[0]!.atMs).toBeGreaterThanOrEqual(waitMs);
    expect((await expectBooks(proxy)).deadLettered).toBe(0);
  }, 120_000);

  test('connection reset: sent again until it arrives, also when only the answer was lost', async () => {
    let calls = 0;
    let cut = 0;
    vendor.script(() => ({ reset: true }));
    const sent = await underLoad(proxy, async (soFar) => {
      await until(async () => expect(await metric(proxy, 'forward_breaker_open')).toBe(1));
      // From now on it works, but badly, for as long as the test lasts.
      vendor.script(() => {
        calls++;
        if (calls % 8 === 4) return { reset: true };
        if (calls % 8 !== 0) return undefined;
        cut++;
        return { cutAnswer: true };
      });
      await until(() => expect(soFar.length).toBeGreaterThan(50));
    });
    await until(() => expect(missingAt(vendor, sent)).toEqual([]));
    const forward = await expectBooks(proxy);
    vendor.script(undefined);
    expect(forward.deadLettered).toBe(0);
    expect(cut).toBeGreaterThan(0);
    // A lost answer means once more: the vendor has said 202 more often than we heard it.
    expect(vendor.delivered().length).toBe(forward.delivered + cut);
  }, 120_000);

  test('413: a dead letter with the reason, and nothing else is held up', async () => {
    vendor.script((received) =>
      messageOf(received).startsWith('toolarge') ? { status: 413, body: '{"errors":["Payload too big"]}' } : undefined,
    );
    const refused: string[] = [];
    const sent = await underLoad(proxy, async (soFar) => {
      for (let i = 0; i < 10; i++) {
        refused.push(`toolarge-${i}`);
        expect(await send(proxy, refused.at(-1)!)).toBe(202);
      }
      await until(() => expect(soFar.length).toBeGreaterThan(50));
    });
    await until(() => expect(missingAt(vendor, sent)).toEqual([]));
    expect((await expectBooks(proxy)).deadLettered).toBe(refused.length);
    vendor.script(undefined);
    expect(await metric(proxy, 'forward_dead_letters_total', 'reason="refused"')).toBe(refused.length);
    const letters = await deadLetters(folder);
    expect(letters.map(({ message }) => message).sort()).toEqual([...refused].sort());
    for (const { note } of letters) {
      expect(note).toMatchObject({ status: 413, givenUp: 'refused' });
      expect(note.reason).toContain('413');
      expect(note.reason).toContain('Payload too big');
    }
    // Final means final: tried once each.
    expect(vendor.requests.filter((received) => messageOf(received).startsWith('toolarge'))).toHaveLength(10);
  }, 120_000);

  test('403 on the configured key: paused with an alarm, then everything is delivered', async () => {
    const before = (await statusOf(proxy)).books.forward.datadog.deadLettered;
    vendor.script(() => ({ status: 403, body: '{"errors":["Forbidden"]}' }));
    const refusedFrom = vendor.requests.length;
    const sent = await underLoad(proxy, async (soFar) => {
      await until(async () => expect(await metric(proxy, 'forward_paused', 'upstream="datadog"')).toBe(1));
      const health = await getJson<{ status: string; datadog: string }>(`${proxy.url}/health`);
      expect(health).toMatchObject({ status: 200, body: { status: 'ok', datadog: 'disconnected' } });
      expect((await request(`${proxy.url}/readyz`)).statusCode).toBe(200);
      expect((await statusOf(proxy)).upstreams.datadog.isPaused).toBe(true);
      await until(() => expect(soFar.length).toBeGreaterThan(20));
      // A pause, not a hail of refused requests: what was under way, and perhaps a probe.
      expect(vendor.requests.length - refusedFrom).toBeLessThan(20);
      vendor.script(undefined);
    });
    await until(() => expect(missingAt(vendor, sent)).toEqual([]));
    expect((await expectBooks(proxy)).deadLettered).toBe(before);
    expect(await metric(proxy, 'forward_paused', 'upstream="datadog"')).toBe(0);
    expect((await getJson<{ datadog: string }>(`${proxy.url}/health`)).body.datadog).toBe('connected');
  }, 150_000);
});

async function deadLetters(folder: string) {
  const root = join(folder, 'store', 'dead-letters', 'datadog');
  const names = (await readdir(root, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const letters = [];
  for (const { parentPath, name } of names) {
    const parcels = decodeParcels(await readFile(join(parentPath, name)), sealer);
    for (const { body, note } of parcels ?? []) {
      const [{ message }] = JSON.parse(Buffer.from(body).toString()) as [{ message: string }];
      letters.push({ message, note });
    }
  }
  return letters;
}

describe('a backlog larger than the journal', () => {
  const BUDGET_BYTES = 8 * MIB;
  /** Between a caller's requests: with a journal this small, a load that a slow disk can spill. */
  const PACE_MS = 50;
  const cases: [name: string, begin: (vendor: FakeVendor) => Promise<void>][] = [
    ['is down', (vendor) => vendor.down()],
    ['hangs', async (vendor) => vendor.script(() => ({ hang: true }))],
  ];

  // Both wait for back-off most of the time.
  test.concurrent.each(cases)(
    'while the vendor %s: callers keep getting 202, and all is delivered from spill',
    async (_, begin) => {
      const folder = await mkdtemp(join(tmpdir(), 'reductrai-test-'));
      const vendor = await startFakeVendor({ checkBodies: false });
      const proxy = await startProxy({
        dataFolder: folder,
        env: {
          FORWARD_TO: vendor.url,
          DATADOG_API_KEY: KEY,
          REDUCTRAI_JOURNAL_BUDGET_BYTES: String(BUDGET_BYTES),
          REDUCTRAI_INTAKE_BODY_BYTES_MAX: String(MIB),
        },
      });
      try {
        await begin(vendor);
        const sent: string[] = [];
        const answers: number[] = [];
        let sentBytes = 0;
        const caller = async (): Promise<void> => {
          while (sentBytes < 1.25 * BUDGET_BYTES) {
            const message = `m-${serial++}`;
            const filler = Buffer.from(systemRandom.bytes(24 * KIB)).toString('base64');
            sentBytes += filler.length;
            sent.push(message);
            answers.push(await send(proxy, message, filler));
            await new Promise((resolve) => setTimeout(resolve, PACE_MS));
          }
        };
        await Promise.all([caller(), caller()]);
        const counts = new Map<number, number>();
        for (const status of answers) counts.set(status, (counts.get(status) ?? 0) + 1);
        expect(Object.fromEntries(counts)).toEqual({ 202: sent.length });
        const during = await statusOf(proxy);
        expect(during.upstreams.datadog.pending).toBe(sent.length);
        expect(during.upstreams.datadog.spill.envelopes).toBeGreaterThan(0);
        expect(during.journal.bytes).toBeLessThanOrEqual(BUDGET_BYTES);
        expect(deliveredTo(vendor).size).toBe(0);
        vendor.script(undefined);
        await vendor.down();
        await vendor.up();
        await until(() => expect(missingAt(vendor, sent)).toEqual([]), 240_000);
        expect((await expectBooks(proxy)).deadLettered).toBe(0);
      } finally {
        await proxy.kill();
        await vendor.close();
        await rm(folder, { recursive: true, force: true, maxRetries: 3 });
      }
    },
    400_000,
  );
});
