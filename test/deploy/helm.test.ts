/** The chart: linted, rendered with each set of values in ci/, taken by kubeconform, and meaning what it says; wrong values are refused. */
import { readdirSync, readFileSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { PROJECT } from '../support/proxy-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { conform, type Kubernetes, objectsOf, only, VERSIONS, writeCrdSchemas } from './support/kubernetes.ts';
import { expectGoodWorkload, expectRestricted, expectUpkeepJob } from './support/kubernetes-pods.ts';
import { DEPLOY, pass, run } from './support/tools.ts';

const CHART = join(DEPLOY, 'helm/reductrai-proxy');
/** Values: workload, store, durability. */
const CASES = {
  's3-values.yaml': ['Deployment', 's3', 'store'],
  'everything-values.yaml': ['Deployment', 'azure', 'store'],
  'nfs-values.yaml': ['Deployment', 'local', 'store'],
  'local-values.yaml': ['StatefulSet', 'local', 'disk'],
  'keda-values.yaml': ['Deployment', 'gcs', 'store'],
} as const;
/** What helm thinks it speaks to; its own default is older than the chart. */
const KUBE_VERSION = ['--kube-version', VERSIONS[1]];

let crds: string;

async function render(values: string): Promise<{ text: string; objects: Kubernetes[] }> {
  const args = [
    'template',
    'prod',
    CHART,
    '--namespace',
    'telemetry',
    ...KUBE_VERSION,
    '-f',
    join(CHART, 'ci', values),
  ];
  const text = await pass('helm', args);
  return { text, objects: objectsOf(text) };
}

/** Values set on the command line, that must be refused: resolves with why. */
async function refusal(...values: string[]): Promise<string> {
  const args = ['template', 'prod', CHART, ...KUBE_VERSION, ...values.flatMap((value) => ['--set', value])];
  const { code, output } = await run('helm', args);
  expect(code, values.join(' ')).not.toBe(0);
  return output;
}

beforeAll(async () => {
  crds = await mkdtemp(join(tmpdir(), 'reductrai-crds-'));
  await writeCrdSchemas(crds);
});
afterAll(() => rm(crds, { recursive: true, force: true }));

test('no values are left out here', () => {
  expect(readdirSync(join(CHART, 'ci')).sort()).toEqual(Object.keys(CASES).sort());
});

describe.each(Object.entries(CASES))('%s', (values, [kind, store, durability]) => {
  test('is liked by helm lint --strict', async () => {
    await pass('helm', ['lint', '--strict', ...KUBE_VERSION, CHART, '-f', join(CHART, 'ci', values)]);
  });

  test('pods without rights, spread, probed, drained, with settings that the proxy takes', async () => {
    const { objects } = await render(values);
    const understood = expectGoodWorkload(objects, kind);
    expect([understood.store, understood.durability, understood.mode]).toEqual([store, durability, 'all']);
    if (objects.some((one) => one.kind === 'CronJob')) expectUpkeepJob(objects, understood);
    expect(objects.filter((one) => /Role/.test(one.kind))).toEqual([]);
    expectRestricted({ volumes: [], ...only(objects, 'Pod').spec });
  });
});

// All at once: reading the schemas takes longer than checking objects with them.
test.each(VERSIONS)('everything rendered is taken by Kubernetes %s (kubeconform)', async (version) => {
  const rendered = await Promise.all(Object.keys(CASES).map(async (values) => (await render(values)).text));
  await conform(rendered.join('\n---\n'), version, crds);
});

test('what is switched on is there: ways in, scaling, monitoring with the very rules and dashboards', async () => {
  const { objects } = await render('everything-values.yaml');
  const rules = parse(readFileSync(join(DEPLOY, 'monitoring/prometheus/rules/reductrai.rules.yml'), 'utf8'));
  expect(only(objects, 'PrometheusRule').spec).toEqual(rules);
  const { data } = only(objects, 'ConfigMap', 'prod-reductrai-proxy-dashboards');
  expect(Object.keys(data).sort()).toEqual(readdirSync(join(DEPLOY, 'monitoring/grafana/dashboards')).sort());
  for (const text of Object.values<string>(data)) expect(JSON.parse(text).uid).toMatch(/^reductrai-/);
  expect(only(objects, 'Ingress').spec.rules[0].http.paths[0].backend.service.name).toBe('prod-reductrai-proxy');
  expect(only(objects, 'HTTPRoute').spec.rules[0].backendRefs[0].name).toBe('prod-reductrai-proxy');
  const { spec } = only(objects, 'Deployment');
  expect(spec.template.spec.terminationGracePeriodSeconds).toBe(80);
  expect(spec.template.spec.containers[0].image).toMatch(/^reductrai\/proxy@sha256:/);
  const ports = only(objects, 'NetworkPolicy').spec.egress.flatMap(({ ports }: Kubernetes) => ports);
  expect(ports).toContainEqual({ port: 9000, protocol: 'TCP' });
});

test('a change of settings rolls the pods, and nothing else does', async () => {
  const sumOf = async (...more: string[]) => {
    const args = ['template', 'prod', CHART, ...KUBE_VERSION, '--set', 'storage.url=s3://a/b', ...more];
    return only(objectsOf(await pass('helm', args)), 'Deployment').spec.template.metadata.annotations[
      'checksum/settings'
    ];
  };
  expect(await sumOf()).toBe(await sumOf('--set', 'replicaCount=5'));
  expect(await sumOf()).not.toBe(await sumOf('--set', 'settings.LOG_LEVEL=debug'));
});

test('volumes stay when the release goes', async () => {
  const nfs = only((await render('nfs-values.yaml')).objects, 'PersistentVolumeClaim');
  expect(nfs.metadata.annotations['helm.sh/resource-policy']).toBe('keep');
  const { spec } = only((await render('local-values.yaml')).objects, 'StatefulSet');
  expect(spec.persistentVolumeClaimRetentionPolicy).toEqual({ whenDeleted: 'Retain', whenScaled: 'Retain' });
});

test('what cannot work is refused before it is installed, and says why', async () => {
  expect(await refusal()).toContain('nothing would outlive a pod: set storage.url');
  expect(await refusal('storage.url=s3://a/b', 'durability=disk')).toContain(
    'durability=disk needs workload=statefulset',
  );
  expect(await refusal('workload=statefulset')).toContain('needs persistence.enabled');
  expect(await refusal('storage.url=s3://a/b', 'autoscaling.enabled=true', 'keda.enabled=true')).toContain('not both');
  expect(await refusal('workload=statefulset', 'persistence.enabled=true', 'autoscaling.enabled=true')).toContain(
    'cannot be scaled down by a machine',
  );
});

test('values that the schema does not know are refused', async () => {
  expect(await refusal('storage.url=ftp://x')).toContain('storage');
  expect(await refusal('storage.url=s3://a/b', 'replicas=3')).toContain("'replicas' not allowed");
  expect(await refusal('storage.url=s3://a/b', 'settings.log_level=debug')).toContain('log_level');
  expect(await refusal('storage.url=s3://a/b', 'workload=daemonset')).toContain('workload');
});

test('the schema knows every value there is', () => {
  const values = parse(readFileSync(join(CHART, 'values.yaml'), 'utf8'));
  const { properties } = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8'));
  expect(
    Object.keys(properties)
      .filter((name) => name !== 'global')
      .sort(),
  ).toEqual(Object.keys(values).sort());
});

test('the chart is of the version of the product', () => {
  const { version } = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8'));
  expect(parse(readFileSync(join(CHART, 'Chart.yaml'), 'utf8'))).toMatchObject({ version, appVersion: version });
});

test('the notes name what was installed', async () => {
  // `helm template` leaves notes out, and `helm install` asks a cluster: in a copy of the chart they are a manifest.
  const copy = join(await temporaryFolder(), 'chart');
  await cp(CHART, copy, { recursive: true });
  const notes = await readFile(join(CHART, 'templates/NOTES.txt'), 'utf8');
  await writeFile(join(copy, 'templates/_notes.tpl'), `{{ define "notes" }}${notes}{{ end }}`);
  await writeFile(
    join(copy, 'templates/notes.yaml'),
    'kind: Notes\nmetadata: {name: x}\ntext: {{ include "notes" . | quote }}\n',
  );
  const args = ['template', 'prod', copy, ...KUBE_VERSION, '--namespace', 'telemetry', '--set', 'storage.url=s3://a/b'];
  const { text } = only(objectsOf(await pass('helm', args)), 'Notes');
  expect(text).toContain('DD_DD_URL=http://prod-reductrai-proxy.telemetry:8080');
  expect(text).toContain('rollout status deployment/prod-reductrai-proxy');
  expect(text).toContain('get secret reductrai-proxy   # datadog-api-key → DATADOG_API_KEY (optional)');
});
