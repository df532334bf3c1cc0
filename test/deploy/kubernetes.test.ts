/** Each overlay of deploy/kubernetes: built by kustomize, taken by kubeconform, and meaning what it says it does. */
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { conform, type Kubernetes, objectsOf, only, VERSIONS, writeCrdSchemas } from './support/kubernetes.ts';
import { expectGoodWorkload, expectUpkeepJob } from './support/kubernetes-pods.ts';
import { DEPLOY, pass, run } from './support/tools.ts';

const FOLDER = join(DEPLOY, 'kubernetes');
/** Overlay: workload, store, durability. */
const OVERLAYS = {
  's3-irsa': ['Deployment', 's3', 'store'],
  'gcs-workload-identity': ['Deployment', 'gcs', 'store'],
  'azure-workload-identity': ['Deployment', 'azure', 'store'],
  minio: ['Deployment', 's3', 'store'],
  nfs: ['Deployment', 'local', 'store'],
  local: ['StatefulSet', 'local', 'disk'],
} as const;

let crds: string;
const built = new Map<string, { text: string; objects: Kubernetes[] }>();

async function build(overlay: string): Promise<{ text: string; objects: Kubernetes[] }> {
  const found = built.get(overlay);
  if (found) return found;
  const text = await pass('kustomize', ['build', join(FOLDER, 'overlays', overlay)]);
  const made = { text, objects: objectsOf(text) };
  built.set(overlay, made);
  return made;
}

beforeAll(async () => {
  crds = await mkdtemp(join(tmpdir(), 'reductrai-crds-'));
  await writeCrdSchemas(crds);
});
afterAll(() => rm(crds, { recursive: true, force: true }));

test('no overlay is left out here', () => {
  expect(readdirSync(join(FOLDER, 'overlays')).sort()).toEqual(Object.keys(OVERLAYS).sort());
});

describe.each(Object.entries(OVERLAYS))('%s', (overlay, [kind, store, durability]) => {
  test('pods without rights, spread, probed, drained, with settings that the proxy takes', async () => {
    const understood = expectGoodWorkload((await build(overlay)).objects, kind);
    expect([understood.store, understood.durability, understood.mode]).toEqual([store, durability, 'all']);
  });

  test('all of it is in one namespace, which refuses pods with rights', async () => {
    const { objects } = await build(overlay);
    const { metadata } = only(objects, 'Namespace');
    expect(metadata.labels['pod-security.kubernetes.io/enforce']).toBe('restricted');
    for (const { kind, metadata } of objects) if (kind !== 'Namespace') expect(metadata.namespace).toBe('reductrai');
  });

  test('one identity, without a token and without a role', async () => {
    const { objects } = await build(overlay);
    expect(only(objects, 'ServiceAccount').automountServiceAccountToken).toBe(false);
    expect(objects.filter(({ kind }) => /Role/.test(kind))).toEqual([]);
  });
});

test('workload identity: where each cloud looks for it', async () => {
  const annotationsOf = async (overlay: string) =>
    only((await build(overlay)).objects, 'ServiceAccount').metadata.annotations;
  expect(await annotationsOf('s3-irsa')).toHaveProperty(['eks.amazonaws.com/role-arn']);
  expect(await annotationsOf('gcs-workload-identity')).toHaveProperty(['iam.gke.io/gcp-service-account']);
  expect(await annotationsOf('azure-workload-identity')).toHaveProperty(['azure.workload.identity/client-id']);
  const azure = only((await build('azure-workload-identity')).objects, 'Deployment');
  expect(azure.spec.template.metadata.labels['azure.workload.identity/use']).toBe('true');
  const ports = only((await build('gcs-workload-identity')).objects, 'NetworkPolicy').spec.egress.flatMap(
    ({ ports }: Kubernetes) => ports.map(({ port }: Kubernetes) => port),
  );
  expect(ports).toEqual(expect.arrayContaining([53, 443, 988, 80]));
});

test('minio: upkeep as a CronJob, an autoscaler, a way in, and rules for the operator', async () => {
  const { objects } = await build('minio');
  expectUpkeepJob(objects, expectGoodWorkload(objects, 'Deployment'));
  expect(only(objects, 'HorizontalPodAutoscaler').spec.minReplicas).toBe(3);
  expect(only(objects, 'Ingress').spec.rules[0].http.paths[0].backend.service.name).toBe('reductrai-proxy');
  expect(only(objects, 'PrometheusRule').spec.groups.length).toBe(3);
  const { selector, endpoints } = only(objects, 'ServiceMonitor').spec;
  const scraped = objects.filter(
    ({ kind, metadata }) =>
      kind === 'Service' &&
      Object.entries(selector.matchLabels).every(([name, value]) => metadata.labels?.[name] === value),
  );
  expect(scraped.map(({ metadata }) => metadata.name)).toEqual(['reductrai-proxy-headless']);
  expect(endpoints[0].port).toBe(scraped[0]!.spec.ports[0].name);
});

test('nfs: one volume, mounted in all replicas at /app/data', async () => {
  const { objects } = await build('nfs');
  const [volume] = only(objects, 'Deployment').spec.template.spec.volumes;
  expect(volume.persistentVolumeClaim.claimName).toBe(only(objects, 'PersistentVolumeClaim').metadata.name);
  expect(only(objects, 'PersistentVolumeClaim').spec.accessModes).toEqual(['ReadWriteMany']);
  expect(only(objects, 'Deployment').spec.replicas).toBe(3);
});

test('local: a disk each, that stays', async () => {
  const { spec } = only((await build('local')).objects, 'StatefulSet');
  expect(spec.volumeClaimTemplates[0].metadata.name).toBe('data');
  expect(spec.persistentVolumeClaimRetentionPolicy).toEqual({ whenDeleted: 'Retain', whenScaled: 'Retain' });
  expect((await build('local')).objects.some(({ kind }) => kind === 'Deployment')).toBe(false);
});

// All at once: reading the schemas takes longer than checking objects with them.
test.each(VERSIONS)(
  'all overlays, and components that none of them has, are taken by Kubernetes %s (kubeconform)',
  async (version) => {
    const overlays = await Promise.all(Object.keys(OVERLAYS).map(async (overlay) => (await build(overlay)).text));
    const others = ['keda/scaledobject.yaml', 'gateway/httproute.yaml'].map((file) =>
      readFileSync(join(FOLDER, 'components', file), 'utf8'),
    );
    await conform([...overlays, ...others].join('\n---\n'), version, crds);
  },
);

test('kubeconform notices what is wrong, also in objects of operators', async () => {
  let { text } = await build('minio');
  const wrongs = { 'readOnlyRootFilesystem:': 'readonlyRootFilesystem', 'scrapeTimeout:': 'scrapeTimeOut' };
  for (const [right, wrong] of Object.entries(wrongs)) {
    expect(text).toContain(right);
    text = text.replace(right, `${wrong}:`);
  }
  const failure = await conform(text, VERSIONS[1], crds).catch((error: Error) => error.message);
  for (const wrong of Object.values(wrongs)) expect(failure).toContain(`'${wrong}' not allowed`);
  expect((await run('kustomize', ['build', join(FOLDER, 'overlays/none')])).code).not.toBe(0);
});
