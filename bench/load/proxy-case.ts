/** The proxy as it is run under load: settings of each case, its backlog, and what it holds when all is over. */
import { setTimeout as sleep } from 'node:timers/promises';
import { SIGNALS, type Signal } from '../../src/core/envelope.ts';
import { VIEW_NAMES, WHOLE_KINDS } from '../../src/query/views.ts';
import { type ProxyProcess, runCli, startProxy } from '../../test/support/proxy-process.ts';

export interface ProxyCase {
  durability: 'memory' | 'disk' | 'store';
  /** Where everything is forwarded to; undefined: store-only. */
  sinkUrl: string | undefined;
  dataFolder: string;
  /** Names the store; default: a folder in the data folder. */
  storeEnv?: Record<string, string>;
}

export function startProxyCase({ durability, sinkUrl, dataFolder, storeEnv = {} }: ProxyCase): Promise<ProxyProcess> {
  return startProxy({
    dataFolder,
    env: {
      ...storeEnv,
      DURABILITY: durability,
      LOG_LEVEL: 'info',
      REDUCTRAI_DRAIN_DEADLINE: '10m',
      ...(sinkUrl === undefined
        ? { PROXY_MODE: 'store-only' }
        : { PROXY_MODE: 'all', FORWARD_TO: sinkUrl, AGENT_URL: sinkUrl, DATADOG_API_KEY: 'bench' }),
    },
  });
}

export interface Backlog {
  /** Envelopes that are in no committed segment yet. */
  archive: number;
  /** Envelopes not delivered yet, over all upstreams. */
  upstreams: number;
}

export async function backlogOf(url: string): Promise<Backlog> {
  const answer = await fetch(`${url}/status`);
  const status = (await answer.json()) as {
    archive: { pendingEnvelopes: number } | null;
    upstreams: Record<string, { pending: number }>;
  };
  return {
    archive: status.archive?.pendingEnvelopes ?? 0,
    upstreams: Object.values(status.upstreams).reduce((sum, { pending }) => sum + pending, 0),
  };
}

/** Seconds until all is delivered; NaN when it is not within `secondsMax`. */
export async function untilDelivered(url: string, secondsMax: number): Promise<number> {
  const startedMs = performance.now();
  for (;;) {
    const { upstreams } = await backlogOf(url);
    const seconds = (performance.now() - startedMs) / 1000;
    if (upstreams === 0) return seconds;
    if (seconds > secondsMax) return Number.NaN;
    await sleep(100);
  }
}

/** Items that the archive holds, by signal, as `reductrai query` counts them. */
export async function storedItems(
  dataFolder: string,
  storeEnv: Record<string, string> = {},
): Promise<Partial<Record<Signal, number>>> {
  const notItems = WHOLE_KINDS.map((kind) => `'${kind}'`).join(', ');
  const counts = SIGNALS.map((signal) => {
    // Every item has one row with point 0, points or none.
    const view = `${VIEW_NAMES[signal]}_raw`;
    return `SELECT '${signal}' AS signal, count(*)::INTEGER AS items FROM ${view} WHERE point = 0 AND kind NOT IN (${notItems})`;
  });
  const { code, stdout, stderr } = await runCli(['query', '--format', 'json', counts.join(' UNION ALL ')], {
    ...storeEnv,
    DATA_DIR: dataFolder,
    REPLICA_ID: 'test-replica',
  });
  if (code !== 0) throw new Error(`the query ended with ${code}: ${stderr.slice(-500)}`);
  const rows = JSON.parse(stdout) as { signal: Signal; items: number }[];
  return Object.fromEntries(rows.map(({ signal, items }) => [signal, items]));
}
