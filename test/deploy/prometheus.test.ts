/**
 * A real Prometheus with the configuration and the rules as shipped (targets and intervals changed) over real replicas under load: the books
 * balance, every query of every dashboard is answered and those of a healthy fleet have data, and a replica that dies is an alert.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { dashboardPlans } from '../../scripts/generate-monitoring.ts';
import { type FakeVendor, startFakeVendor } from '../support/fake-vendor.ts';
import { FleetLoad, KEY, replicaEnv } from '../support/fleet-load.ts';
import { type ProxyProcess, startProxy } from '../support/proxy-process.ts';
import { freePort, type ServerProcess, startServer } from '../support/servers/server-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { DEPLOY, installed, TOOLS_FOLDER } from './support/tools.ts';

const PROMETHEUS = join(DEPLOY, 'monitoring/prometheus');
const ZONES = ['a', 'b'];
const WITHIN_MS = 60_000;
/** Dashboards ask for rates over an hour and a day: the same over what a test has. */
const SHORT = '10s';
/** What happens to a fleet that is well, forwards and archives; the rest is empty until something goes wrong. */
const WITH_DATA = [
  'Replicas up',
  'Worst health',
  '5xx',
  'Journal, fullest',
  'Dead letters, 1 d',
  'Raw over stored',
  'Requests by status',
  'Items accepted by signal',
  'Bytes received',
  'Time to answer',
  'Spread over replicas',
  'Books: what is left over',
  'Health',
  'Store reachable',
  'Version',
  'Resident memory',
  'In flight',
  'Event loop delay, p99',
  'Open connections',
  'Size over budget',
  'Oldest envelope',
  'Requests by route',
  'Time to answer by route, p99',
  'Raw over stored, by signal',
  'Raw over stored since start',
  'Bytes a day',
  'Segments written',
  'Rows a segment',
  'Flush, from cut to commit',
  'Waiting for the archive',
  'Operations',
  'Duration, p99',
  'Delivered',
  'Attempts by outcome',
  'One attempt',
  'Bytes delivered',
  'Waiting',
  'Spill objects',
  'Paused or at rest',
];

interface Sample {
  metric: Record<string, string>;
  value: [number, string];
}

const replicas: ProxyProcess[] = [];
let vendor: FakeVendor | undefined;
let prometheus: ServerProcess | undefined;
let url = '';

afterEach(async () => {
  await prometheus?.close();
  await Promise.all(replicas.splice(0).map((proxy) => proxy.kill()));
  await vendor?.close();
});

async function startPrometheus(targets: readonly string[]): Promise<void> {
  const folder = await temporaryFolder();
  const config = parse(await readFile(join(PROMETHEUS, 'prometheus.yml'), 'utf8'));
  config.global = { scrape_interval: '500ms', evaluation_interval: '500ms' };
  config.alerting = undefined;
  config.scrape_configs[0].static_configs = targets.map((target, index) => ({
    targets: [target],
    labels: { zone: ZONES[index] },
  }));
  config.scrape_configs.length = 1;
  await writeFile(join(folder, 'prometheus.yml'), stringify(config));
  const rules = parse(await readFile(join(PROMETHEUS, 'rules/reductrai.rules.yml'), 'utf8'));
  for (const group of rules.groups) group.interval = '500ms';
  for (const rule of rules.groups.at(-1).rules) if (rule.for) rule.for = '1s';
  await mkdir(join(folder, 'rules'));
  await writeFile(join(folder, 'rules/reductrai.rules.yml'), stringify(rules));
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  prometheus = await startServer({
    command: installed(join(TOOLS_FOLDER, 'bin/prometheus')),
    args: [
      `--config.file=${folder}/prometheus.yml`,
      `--storage.tsdb.path=${folder}/data`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    isReady: async () => (await fetch(`${url}/-/ready`)).status === 200,
  });
}

async function ask(query: string): Promise<Sample[]> {
  const answer = await fetch(`${url}/api/v1/query?${new URLSearchParams({ query })}`);
  const { status, data, error } = (await answer.json()) as {
    status: string;
    data: { result: Sample[] };
    error?: string;
  };
  expect([status, error], query).toEqual(['success', undefined]);
  return data.result;
}

async function askUntil(query: string, isIt: (samples: Sample[]) => boolean): Promise<Sample[]> {
  const deadline = performance.now() + WITHIN_MS;
  for (;;) {
    const samples = await ask(query);
    if (isIt(samples)) return samples;
    if (performance.now() > deadline) throw new Error(`${query}: ${JSON.stringify(samples)}`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

const isNumber = ({ value }: Sample): boolean => value[1] !== 'NaN';

/** Panels whose queries all have a value, and those of which one has none. */
async function panelsWithData(): Promise<Set<string>> {
  const having = new Set<string>();
  for (const { rows } of dashboardPlans()) {
    for (const { title, queries } of rows.flatMap(({ panels }) => panels)) {
      let isFull = true;
      for (const { expr } of queries) {
        const text = expr.replaceAll('$__rate_interval', SHORT).replace(/\[1[hd]\]/g, `[${SHORT}]`);
        const samples = await ask(text.replace(/\$\w+/g, '.+'));
        if (!samples.some(isNumber)) isFull = false;
      }
      if (isFull) having.add(title);
    }
  }
  return having;
}

test('rules and dashboards over real replicas', { timeout: 240_000 }, async () => {
  vendor = await startFakeVendor({ apiKeys: [KEY] });
  const root = await temporaryFolder();
  const ports = await Promise.all(ZONES.map(() => freePort()));
  for (const [index, zone] of ZONES.entries()) {
    const env = replicaEnv(zone, vendor, { STORAGE_URL: `file://${root}/store` });
    const port = String(ports[index]);
    replicas.push(await startProxy({ dataFolder: join(root, zone), env: { ...env, REDUCTRAI_PORT: port } }));
  }
  await startPrometheus(ports.map((port) => `127.0.0.1:${port}`));
  const load = new FleetLoad({ clients: 2, name: 'load' });
  for (const [index, zone] of ZONES.entries()) load.urls.set(zone, `http://127.0.0.1:${ports[index]}`);
  load.start();
  try {
    await askUntil('sum(reductrai_storage_bytes_total)', ([one]) => Number(one?.value[1]) > 0);
    await askUntil(`sum(rate(reductrai_storage_bytes_total[${SHORT}]))`, ([one]) => Number(one?.value[1]) > 0);
    const deadline = performance.now() + WITHIN_MS;
    let missing: string[];
    do {
      const having = await panelsWithData();
      missing = WITH_DATA.filter((title) => !having.has(title));
    } while (missing.length > 0 && performance.now() < deadline);
    expect(missing).toEqual([]);
  } finally {
    await load.stop();
  }
  // Nothing is under way any more: the books close, for each replica and upstream.
  for (const book of ['intake', 'archive', 'forward']) {
    const closed = await askUntil(
      `reductrai:books_${book}:balance`,
      (samples) => samples.length === ZONES.length && samples.every(({ value }) => value[1] === '0'),
    );
    expect(closed.map(({ metric }) => metric.zone).sort()).toEqual(ZONES);
  }
  const faults = 'Reductrai(.*Books|StorageDown|NotServing|DeadLetters|UpstreamPaused|LeaseConflict)';
  expect(
    (await ask(`ALERTS{alertstate="firing",alertname=~"${faults}"}`)).map(({ metric }) => metric.alertname),
  ).toEqual([]);
  await replicas[0]!.kill();
  const [alert] = await askUntil(
    'ALERTS{alertname="ReductraiInstanceDown",alertstate="firing"}',
    ({ length }) => length > 0,
  );
  expect(alert?.metric).toMatchObject({ instance: `127.0.0.1:${ports[0]}`, zone: 'a', severity: 'warning' });
});
