/** Compose files: the schema of the specification, then loaded by the library of `docker compose config`, then read as the proxy would. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { expectGrace, secondsOf, settingsOf } from './support/settings.ts';
import { DEPLOY, pass, run } from './support/tools.ts';

const FOLDER = join(DEPLOY, 'compose');
const FILES = ['compose.yml', 'compose.ha.yml', 'compose.blue-green.yml'];
const ALL_PROFILES = 'blue,green,nginx';

interface Service {
  image: string;
  environment?: Record<string, string>;
  read_only?: boolean;
  cap_drop?: string[];
  security_opt?: string[];
  stop_grace_period?: string;
  labels?: Record<string, string>;
  volumes?: { type: string; source: string; target: string; read_only?: boolean }[];
  networks?: Record<string, { ipv4_address?: string } | null>;
  profiles?: string[];
}

interface Project {
  services: Record<string, Service>;
}

const exampleEnv = (): Record<string, string> =>
  Object.fromEntries(
    readFileSync(join(FOLDER, '.env.example'), 'utf8')
      .split('\n')
      .filter((line) => /^\w+=/.test(line))
      .map((line) => line.split(/=(.*)/s).slice(0, 2) as [string, string]),
  );

async function load(file: string, env: Record<string, string> = {}): Promise<Project> {
  return parse(
    await pass('compose-config', [file], {
      cwd: FOLDER,
      env: { ...exampleEnv(), COMPOSE_PROFILES: ALL_PROFILES, ...env },
    }),
  );
}

const proxiesOf = ({ services }: Project): [string, Service][] =>
  Object.entries(services).filter(([, { image }]) => image.startsWith('reductrai/proxy:'));

describe.each(FILES)('%s', (file) => {
  test('is what the Compose specification asks for', async () => {
    // Docker's durations are not those of JSON Schema.
    const args = ['--disable-formats', 'duration', '--builtin-schema', 'vendor.compose-spec'];
    await pass('check-jsonschema', [...args, join(FOLDER, file)]);
  });

  test('what is mounted from the repository is there', async () => {
    const { services } = await load(file);
    for (const { volumes } of Object.values(services)) {
      for (const { type, source, read_only } of volumes ?? []) {
        if (type !== 'bind') continue;
        expect(existsSync(source), source).toBe(true);
        expect(read_only, source).toBe(true);
      }
    }
  });

  test('its proxies get settings that they take, time to drain, and no rights', async () => {
    const proxies = proxiesOf(await load(file, { DATADOG_API_KEY: 'a-key' }));
    expect(proxies.length).toBeGreaterThan(0);
    for (const [name, service] of proxies) {
      const { settings, mode, durability, store } = settingsOf(service.environment!);
      expect([name, mode]).toEqual([name, 'all']);
      expect([store, durability]).toEqual(file === 'compose.yml' ? ['local', 'disk'] : ['s3', 'store']);
      expectGrace(secondsOf(service.stop_grace_period!), settings);
      expect(service).toMatchObject({
        read_only: true,
        cap_drop: ['ALL'],
        security_opt: ['no-new-privileges:true'],
        volumes: [{ type: 'volume', target: '/app/data' }],
      });
    }
  });

  test('without a key everything is kept and nothing forwarded', async () => {
    for (const [, { environment }] of proxiesOf(await load(file))) {
      expect(settingsOf(environment!).mode).toBe('store-only');
    }
  });
});

test('a password that is not set is asked for', async () => {
  const { code, output } = await run('compose-config', ['compose.ha.yml'], { cwd: FOLDER });
  expect(code).not.toBe(0);
  expect(output).toContain('MINIO_ROOT_PASSWORD is missing a value: set it in .env');
});

test('compose.ha.yml: zones, and the addresses that the balancers are given, are those of the proxies', async () => {
  const project = await load('compose.ha.yml');
  const proxies = proxiesOf(project).map(([, service]) => service);
  expect(proxies.map(({ labels }) => labels?.['reductrai.zone'])).toEqual(['a', 'b', 'c']);
  const addresses = proxies.map(({ networks }) => `${networks?.default?.ipv4_address}:8080`);
  for (const name of ['haproxy', 'nginx']) {
    const { environment } = project.services[name]!;
    expect([1, 2, 3].map((n) => environment?.[`REPLICA_${n}`])).toEqual(addresses);
  }
  expect(project.services.nginx?.profiles).toEqual(['nginx']);
});

test('compose.ha.yml: the balancers are given what their files ask for, and nothing that these do not know', async () => {
  const { services } = await load('compose.ha.yml');
  const read = (file: string): string =>
    readFileSync(join(DEPLOY, file), 'utf8')
      .split('\n')
      .filter((line) => !/^ *#/.test(line))
      .join('\n');
  const template = read('nginx/reductrai.conf.template');
  const { NGINX_ENVSUBST_FILTER: filter, ...given } = services.nginx!.environment!;
  const asked = [...template.matchAll(/\$\{(\w+)\}/g)].map(([, name]) => name!);
  expect(Object.keys(given).sort()).toEqual([...new Set(asked)].sort());
  const parts = ['tls', 'client-certificates'].map((part) => read(`nginx/reductrai/${part}.conf.template`));
  for (const [, name] of [template, ...parts].join('\n').matchAll(/\$\{(\w+)\}/g)) {
    expect(name).toMatch(new RegExp(filter!));
  }
  // Nginx's own variables stay as they are written.
  for (const [, name] of template.matchAll(/\$(\w+)/g)) expect(name).not.toMatch(new RegExp(filter!));
  const known = [...read('haproxy/haproxy.cfg').matchAll(/\$\{(\w+)/g)].map(([, name]) => name!);
  expect(known).toEqual(expect.arrayContaining(Object.keys(services.haproxy!.environment!)));
});

test('compose.ha.yml: Prometheus scrapes the proxies under their zones, and knows the others by their names', async () => {
  const { services } = await load('compose.ha.yml');
  const { scrape_configs: jobs, alerting } = parse(
    readFileSync(join(DEPLOY, 'monitoring/prometheus/prometheus.yml'), 'utf8'),
  );
  const [proxies, balancer] = jobs;
  expect(proxies.static_configs).toEqual(
    ['a', 'b', 'c'].map((zone, index) => ({ targets: [`proxy-${index + 1}:8080`], labels: { zone } })),
  );
  const named = [
    ...proxies.static_configs.flatMap(({ targets }: { targets: string[] }) => targets),
    ...alerting.alertmanagers[0].static_configs[0].targets,
    balancer.relabel_configs.at(-1).replacement,
    balancer.static_configs[0].targets[0].replace(/^http:\/\/|\/health$/g, ''),
  ];
  for (const target of named) expect(Object.keys(services)).toContain(target.split(':')[0]);
});

test('compose.blue-green.yml: each colour has its addresses, HAProxy knows all of them, and no two share a replica id', async () => {
  const project = await load('compose.blue-green.yml', { BLUE_VERSION: '1.0.0', GREEN_VERSION: '1.0.1' });
  const proxies = proxiesOf(project);
  const { environment } = project.services.haproxy!;
  for (const [name, { networks, image }] of proxies) {
    expect(environment?.[name.toUpperCase().replace('-', '_')]).toBe(`${networks?.default?.ipv4_address}:8080`);
    expect(image).toBe(`reductrai/proxy:${name.startsWith('blue') ? '1.0.0' : '1.0.1'}`);
  }
  const hosts = proxies.map(([, service]) => (service as { hostname?: string }).hostname);
  expect(new Set(hosts).size).toBe(6);
});
