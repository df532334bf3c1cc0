/** Every file below deploy/ by the linter of its language; image, units and stacks by what would load them, where that can be had. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { build } from '../../scripts/build.ts';
import { sbomOf } from '../../scripts/sbom.ts';
import { PROJECT } from '../support/proxy-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { expectGrace, secondsOf, settingsOf } from './support/settings.ts';
import { DEPLOY, pass, run, SCHEMAS, TOOLS_FOLDER } from './support/tools.ts';

const TOOLS = join(PROJECT, 'test/deploy/tools');
/** Exposure as systemd-analyze counts it: 10 is everything, 0 nothing; above 2 asks for a reason. */
const EXPOSURE_MAX_TENTHS = 20;

const files = (...ends: string[]): string[] =>
  readdirSync(DEPLOY, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && ends.some((end) => entry.name.endsWith(end)))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();

test('YAML (yamllint)', async () => {
  // Templates of Helm are YAML only once they are rendered: helm.test.ts.
  const found = files('.yml', '.yaml').filter((path) => !path.includes('/templates/'));
  expect(found.length).toBeGreaterThan(10);
  await pass('yamllint', ['--strict', '-c', join(TOOLS, 'yamllint.yml'), ...found]);
});

test('shell (shellcheck)', async () => {
  const scripts = [...files('.sh'), join(TOOLS, 'install.sh'), join(PROJECT, 'bin/reductrai')];
  await pass('shellcheck', scripts);
});

test('HCL of Nomad and Terraform parses, and is formatted (hclfmt)', async () => {
  const found = files('.hcl', '.tf');
  expect(found.length).toBe(4);
  await pass('hclfmt', ['-check', ...found]);
  for (const path of found) expect(await pass('hclfmt', [path]), path).toBe(readFileSync(path, 'utf8'));
});

test('the Nomad job gives settings that the proxy takes, and time to drain', () => {
  const text = readFileSync(join(DEPLOY, 'nomad/reductrai-proxy.nomad.hcl'), 'utf8');
  const [, block] = /\n {6}env \{\n([^}]*(?:\$\{\w+\}[^}]*)*)\n {6}\}/.exec(text)!;
  const env = Object.fromEntries(
    [...block!.matchAll(/^ +(\w+) += (.+)$/gm)].map(([, name, value]) => [
      name!,
      value === 'var.storage_url' ? 's3://a/b' : value!.replaceAll('"', '').replace(/\$\{NOMAD_ALLOC_ID\}/, 'a-1'),
    ]),
  );
  const { settings, durability, mode } = settingsOf(env);
  expect([durability, mode, Object.keys(env).length]).toEqual(['store', 'all', 6]);
  expectGrace(secondsOf(/kill_timeout +=.*"(.*)"/.exec(text)![1]!), settings);
});

test('nothing committed names a machine or a workplace', () => {
  for (const path of files('')) {
    if (path.endsWith('.json')) continue;
    const text = readFileSync(path, 'utf8');
    expect(text, path).not.toMatch(/\/(work|root|home)\/|localhost:5000/);
  }
});

test.each([['haproxy/haproxy.cfg'], ['compose/blue-green/haproxy.cfg']])('%s (haproxy -c)', async (file) => {
  const path = join(DEPLOY, file);
  // What is only there if it is wanted: test/deploy/balancers.
  const names = [...readFileSync(path, 'utf8').matchAll(/^ *(?:bind|server \S+) "\$\{(\w+)\}"$/gm)].map(
    ([, name]) => name!,
  );
  const env = Object.fromEntries(names.map((name, index) => [name, `127.0.0.1:${10_000 + index}`]));
  const map = join(DEPLOY, 'compose/blue-green/active.map');
  await pass('haproxy', ['-c', '-f', path], { env: { ...env, MAP: map } });
  // One that is wrong is not.
  expect((await run('haproxy', ['-c', '-f', path], { env: { ...env, MAP: map, LISTEN: 'nowhere' } })).code).toBe(1);
});

test('Dockerfile (hadolint)', async () => {
  await pass('hadolint', [join(PROJECT, 'Dockerfile')]);
});

test('the image runs as a number, checks itself, takes SIGTERM itself and says what it is', () => {
  const text = readFileSync(join(PROJECT, 'Dockerfile'), 'utf8');
  const last = text.slice(text.lastIndexOf('\nFROM '));
  expect(last).toMatch(/^FROM node:24-bookworm-slim$/m);
  expect(last).not.toMatch(/python3|make|g\+\+/);
  for (const line of ['USER 1000:1000', 'VOLUME /app/data', 'EXPOSE 8080', 'STOPSIGNAL SIGTERM']) {
    expect(last.split('\n')).toContain(line);
  }
  expect(last).toContain('ENTRYPOINT ["node", "main.js"]');
  expect(last).toMatch(/install -y --no-install-recommends curl /);
  expect(last).toMatch(/^HEALTHCHECK /m);
  for (const name of ['title', 'description', 'licenses', 'version', 'revision']) {
    expect(last).toContain(`org.opencontainers.image.${name}=`);
  }
});

test('what the image is built from is not left out by .dockerignore', () => {
  const ignored = readFileSync(join(PROJECT, '.dockerignore'), 'utf8').split('\n');
  for (const needed of ['bin', 'scripts', 'src', 'package.json', 'package-lock.json', 'LICENSE']) {
    expect(existsSync(join(PROJECT, needed))).toBe(true);
    expect(ignored).not.toContain(needed);
  }
  for (const unneeded of ['node_modules', '.git', 'test', 'docs', 'data', '**/.env'])
    expect(ignored).toContain(unneeded);
});

test('the health check asks the port that the settings say (sh)', async () => {
  const check = /CMD \["sh", "-c", "(.*)"\]/.exec(readFileSync(join(PROJECT, 'Dockerfile'), 'utf8'))?.[1];
  const asked = async (env: Record<string, string>): Promise<string> =>
    (await pass('bash', ['-c', `curl() { echo "$@"; }; ${check}`], { env })).trim();
  expect(await asked({})).toBe('-fsS http://localhost:8080/health');
  expect(await asked({ REDUCTRAI_PORT: '9000' })).toBe('-fsS http://localhost:9000/health');
  expect(await asked({ REDUCTRAI_PORT: '9000', REDUCTRAI_ADMIN_PORT: '9001' })).toBe(
    '-fsS http://localhost:9001/health',
  );
});

test('what is in the image is listed (CycloneDX)', async () => {
  const folder = await temporaryFolder();
  const built = await build(folder);
  const file = join(folder, 'sbom.json');
  await writeFile(file, JSON.stringify(sbomOf(PROJECT, built)));
  await pass(join(TOOLS_FOLDER, 'py/bin/python'), [
    '-c',
    `import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
sys.exit(JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1]).read()))`,
    file,
  ]);
  const { components, dependencies } = sbomOf(PROJECT, built) as {
    components: { name: string }[];
    dependencies: { ref: string; dependsOn: string[] }[];
  };
  const names = components.map(({ name }) => name);
  const manifest = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8'));
  expect(names).toEqual(expect.arrayContaining(Object.keys(manifest.dependencies)));
  for (const name of ['vitest', 'typescript', 'node']) expect(names).not.toContain(name);
  expect(dependencies[0]?.dependsOn.length).toBe(Object.keys(manifest.dependencies).length);
});

test.each([['stack.yml'], ['stack.traefik.yml']])('swarm/%s is what `docker stack deploy` asks for', async (file) => {
  // Docker's durations are not those of JSON Schema.
  const args = ['--disable-formats', 'duration', '--schemafile', join(SCHEMAS, 'config_schema_v3.13.json')];
  await pass('check-jsonschema', [...args, join(DEPLOY, 'swarm', file)]);
  const { code } = await run('check-jsonschema', [...args, join(DEPLOY, 'compose/compose.ha.yml')]);
  expect(code, 'the schema tells a stack from a Compose file').toBe(1);
});

test('the Swarm stack updates one at a time, new before old, with secrets as files, over zones', async () => {
  const { services, secrets } = parse(readFileSync(join(DEPLOY, 'swarm/stack.yml'), 'utf8'));
  const { environment, deploy, healthcheck, stop_grace_period, hostname } = services.proxy;
  const env = {
    ...environment,
    STORAGE_URL: 's3://telemetry/prod?region=eu-west-1',
    DD_SITE: 'datadoghq.eu',
  };
  const { settings, durability, store, mode } = settingsOf(env);
  expect([store, durability, mode]).toEqual(['s3', 'store', 'all']);
  expectGrace(secondsOf(stop_grace_period), settings);
  expect(deploy.replicas).toBe(3);
  expect(deploy.update_config).toMatchObject({ order: 'start-first', parallelism: 1, failure_action: 'rollback' });
  expect(deploy.placement.preferences).toEqual([{ spread: 'node.labels.zone' }]);
  expect(healthcheck.test).toEqual(['CMD', 'curl', '-f', 'http://localhost:8080/health']);
  // A name made of the slot would be that of two tasks at once.
  expect(hostname).toBeUndefined();
  for (const name of services.proxy.secrets) {
    expect(secrets[name]).toEqual({ external: true });
    expect(Object.values(environment)).toContain(`/run/secrets/${name}`);
  }
});

test('the systemd unit is taken by systemd-analyze, and exposes little', async () => {
  const folder = await temporaryFolder();
  const unit = readFileSync(join(DEPLOY, 'systemd/reductrai-proxy.service'), 'utf8');
  expect(unit.match(/^ExecStartPre=.*check-config$/gm)?.length).toBe(1);
  expect(unit).toMatch(/^ExecReload=\/bin\/kill -HUP \$MAINPID$/m);
  expectGrace(Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)?.[1]), settingsOf({}).settings);
  // As if it were installed: the program must be there to be looked at.
  const file = join(folder, 'reductrai-proxy.service');
  await mkdir(join(folder, 'opt'));
  await writeFile(file, unit.replaceAll('/opt/reductrai/bin', join(PROJECT, 'bin')));
  const { code, output } = await run('systemd-analyze', ['verify', '--man=no', file]);
  expect([code, output]).toEqual([0, '']);
  await pass('systemd-analyze', ['security', '--offline=true', `--threshold=${EXPOSURE_MAX_TENTHS}`, file]);
});

test('what the environment file of the unit offers are settings', () => {
  const text = readFileSync(join(DEPLOY, 'systemd/proxy.env.example'), 'utf8');
  const lines = [...text.matchAll(/^#?([A-Z_]+)=(.*)$/gm)].filter(([, name]) => name !== 'REDUCTRAI_CONFIG');
  expect(lines.length).toBeGreaterThan(2);
  settingsOf(Object.fromEntries(lines.map(([, name, value]) => [name!, value!])));
});
