/** Agents that send to a fleet, each body until it is acknowledged, to whichever replica, and the ledger of what was. */
import { Agent, request } from 'undici';
import { expect } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import type { FakeVendor } from './fake-vendor.ts';
import { runCli } from './proxy-process.ts';

export const KEY = '0123456789abcdef0123456789abcdef';
const CLIENTS = 6;

/** Of one replica of a fleet whose journals are in the store, flushing fast. */
export function replicaEnv(
  replica: string,
  vendor: FakeVendor,
  storeEnv: Record<string, string>,
): Record<string, string> {
  return {
    ...storeEnv,
    DURABILITY: 'store',
    REPLICA_ID: replica,
    FORWARD_TO: vendor.url,
    DATADOG_API_KEY: KEY,
    REDUCTRAI_JOURNAL_CHUNK_AFTER: '50ms',
    REDUCTRAI_ARCHIVE_FLUSH_AFTER: '2s',
    REDUCTRAI_INTAKE_DECODE_WORKERS: '1',
  };
}

export interface FleetLoadOptions {
  clients: number;
  /** Keeps the ids of several loads apart. */
  name: string;
  /** Any other than these and 202 is a failure. A balancer has some of its own. */
  statusesRetried: readonly number[];
  /** What each body carries beside its id. */
  fillerBytes: number;
}

/** Agents behind a balancer: each sends to whichever replica answers. */
export class FleetLoad {
  readonly urls = new Map<string, string>();
  /** Id → how often it was sent. */
  readonly acknowledged = new Map<string, number>();
  readonly #agent = new Agent({ connections: CLIENTS, headersTimeout: 10_000, connectTimeout: 5_000 });
  /** What an agent would have noticed: 503s, broken connections. */
  readonly troubles: string[] = [];
  /** The balancer in between is being killed: an answer that had reached it counts as heard, and its sender comes back all the same. */
  isBalancerKilled = false;
  /** Bodies that this may have happened to. They may be there as often as they were sent. */
  readonly #excused = new Set<string>();
  /** Of these, how many are there more than once; known once `expectKept` has looked. */
  doubled = 0;
  /** The longest time in which nobody got an acknowledgement, from the first one on. */
  unavailableMs = 0;
  #acknowledgedAtMs: number | undefined;
  /** The longest from a body's first attempt to its acknowledgement. */
  longestWaitMs = 0;
  readonly #options: FleetLoadOptions;
  #stopped = false;
  #clients: Promise<void>[] = [];

  constructor(options: Partial<FleetLoadOptions> = {}) {
    this.#options = { clients: CLIENTS, name: 'load', statusesRetried: [503], fillerBytes: 0, ...options };
  }

  start(): void {
    for (let client = 0; client < this.#options.clients; client++)
      this.#clients.push(this.#run(client, seededRandom(client).next));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#clients);
    await this.#agent.destroy();
  }

  async #run(client: number, random: () => number): Promise<void> {
    for (let n = 0; !this.#stopped; n++) {
      const id = `${this.#options.name}-${client}-${n}`;
      const filler = 'x'.repeat(this.#options.fillerBytes);
      const body = JSON.stringify([{ message: `log ${id}${filler}`, service: 'fleet', id }]);
      const startedAtMs = performance.now();
      const times = await this.#deliver(id, body, random);
      this.longestWaitMs = Math.max(this.longestWaitMs, performance.now() - startedAtMs);
      if (times > 0) this.acknowledged.set(id, times);
      await new Promise((resolve) => setTimeout(resolve, random() * 20));
    }
  }

  /** Resolves to how often the body may have been taken: only attempts that were refused for certain do not count. */
  async #deliver(id: string, body: string, random: () => number): Promise<number> {
    let taken = 0;
    for (let attempt = 0; attempt < 10_000; attempt++) {
      const urls = [...this.urls.values()];
      const url = urls[Math.floor(random() * urls.length)];
      if (url) {
        try {
          const answer = await request(`${url}/api/v2/logs`, {
            method: 'POST',
            body,
            headers: { 'content-type': 'application/json', 'dd-api-key': KEY },
            dispatcher: this.#agent,
          });
          await answer.body.dump();
          if (answer.statusCode === 202) {
            this.#noteAcknowledged();
            return taken + 1;
          }
          this.troubles.push(`status ${answer.statusCode}`);
          if (!this.#options.statusesRetried.includes(answer.statusCode)) {
            throw new Error(`unexpected status ${answer.statusCode}`);
          }
          // A balancer that says so does not know what the replica did.
          if (answer.statusCode !== 503) taken += 1;
        } catch (error) {
          if (String(error).includes('unexpected status')) throw error;
          this.troubles.push(String(error));
          if (!String(error).includes('ECONNREFUSED')) {
            taken += 1;
            if (this.isBalancerKilled) this.#excused.add(id);
          }
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    return 0;
  }

  #noteAcknowledged(): void {
    const nowMs = performance.now();
    this.unavailableMs = Math.max(this.unavailableMs, nowMs - (this.#acknowledgedAtMs ?? nowMs));
    this.#acknowledgedAtMs = nowMs;
  }

  #isKept(id: string, times: number, archived: number): boolean {
    return archived === 1 || (this.#excused.has(id) && archived > 1 && archived <= times);
  }

  /** Each is in the archive, once, and at the vendor. Resolves to how many were sent more than once. */
  async expectKept(env: Record<string, string>, vendor: FakeVendor): Promise<number> {
    const archived = new Map<string, number>();
    const { stdout, stderr, code } = await runCli(['export', '--signal', 'logs'], env);
    expect(code, stderr).toBe(0);
    for (const line of stdout.split('\n')) {
      if (line === '') continue;
      const { id } = JSON.parse(line) as { id: string };
      archived.set(id, (archived.get(id) ?? 0) + 1);
    }
    const wrong = [...this.acknowledged]
      .filter(([id, times]) => !this.#isKept(id, times, archived.get(id) ?? 0))
      .map(([id, times]) => `${id}: sent ${times}, archived ${archived.get(id) ?? 0}`);
    expect(wrong).toEqual([]);
    this.doubled = [...this.#excused].filter((id) => (archived.get(id) ?? 0) > 1).length;
    const retried = [...this.acknowledged.values()].filter((times) => times > 1).length;
    const delivered = new Set(
      vendor.delivered().flatMap(({ body }) => [...body.toString().matchAll(/"id":"([^"]+)"/g)].map(([, id]) => id)),
    );
    expect([...this.acknowledged.keys()].filter((id) => !delivered.has(id))).toEqual([]);
    return retried;
  }
}

/** Of lives that ended nothing is left in the store but fences: what they had acknowledged is archived and delivered. */
export async function expectFinished(env: Record<string, string>): Promise<void> {
  await expect
    .poll(
      async () => {
        const { stdout } = await runCli(['ha', 'status', '--format', 'ndjson'], env);
        const states = stdout
          .split('\n')
          .flatMap((line) => (line ? [(JSON.parse(line) as { state: string }).state] : []));
        return states.filter((state) => state === 'orphaned');
      },
      { timeout: 120_000, interval: 500 },
    )
    .toEqual([]);
}
