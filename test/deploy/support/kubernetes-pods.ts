/** What must hold for the pods of every installation, whether Kustomize or Helm made them. */
import { expect } from 'vitest';
import type { Kubernetes } from './kubernetes.ts';
import { environmentOf, only } from './kubernetes.ts';
import { expectGrace, settingsOf, type Understood } from './settings.ts';

/** `kubectl apply` would take it: no rights, no writable root, nothing that the namespace's `restricted` level refuses. */
export function expectRestricted(pod: Kubernetes): void {
  expect(pod.automountServiceAccountToken).toBe(false);
  expect(pod.securityContext).toMatchObject({
    runAsNonRoot: true,
    runAsUser: 1000,
    seccompProfile: { type: 'RuntimeDefault' },
  });
  for (const { securityContext, resources } of pod.containers) {
    expect(securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
    expect(resources.limits.memory).toBeTruthy();
    expect(resources.requests.cpu).toBeTruthy();
  }
  for (const { hostPath } of pod.volumes) expect(hostPath).toBeUndefined();
}

function expectProbes(container: Kubernetes): void {
  const pathOf = (probe: Kubernetes): string => probe.httpGet.path;
  expect(container.ports).toEqual([{ name: 'http', containerPort: 8080 }]);
  expect([container.startupProbe, container.livenessProbe].map(pathOf)).toEqual(['/livez', '/livez']);
  expect(pathOf(container.readinessProbe)).toBe('/readyz');
  for (const probe of [container.startupProbe, container.livenessProbe, container.readinessProbe]) {
    expect(probe.httpGet.port).toBe('http');
  }
}

function expectSpread(pod: Kubernetes, labels: Kubernetes): void {
  const keys = pod.topologySpreadConstraints.map(({ topologyKey }: Kubernetes) => topologyKey);
  expect(keys).toEqual(['topology.kubernetes.io/zone', 'kubernetes.io/hostname']);
  const selectors = [
    ...pod.topologySpreadConstraints,
    ...pod.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution.map(
      ({ podAffinityTerm }: Kubernetes) => podAffinityTerm,
    ),
  ].map(({ labelSelector }) => labelSelector.matchLabels);
  for (const selector of selectors) expect(labels).toMatchObject(selector);
}

/** Everything of the proxy's own pods; resolves to what their settings mean, with the secrets there. */
export function expectGoodWorkload(objects: readonly Kubernetes[], kind: 'Deployment' | 'StatefulSet'): Understood {
  const workload = only(objects, kind);
  const { template, selector } = workload.spec;
  const pod = template.spec;
  const [container] = pod.containers;
  const labels = template.metadata.labels;
  expect(labels).toMatchObject(selector.matchLabels);
  if (kind === 'Deployment') {
    expect(workload.spec.strategy.rollingUpdate).toEqual({ maxSurge: 1, maxUnavailable: 0 });
  }
  expectRestricted(pod);
  expectProbes(container);
  expectSpread(pod, labels);
  const mounts = Object.fromEntries(container.volumeMounts.map(({ name, mountPath }: Kubernetes) => [mountPath, name]));
  expect(Object.keys(mounts).sort()).toEqual(['/app/data', '/tmp']);
  const volumes = [
    ...pod.volumes,
    ...(workload.spec.volumeClaimTemplates ?? []).map(({ metadata }: Kubernetes) => metadata),
  ];
  expect(volumes.map(({ name }: Kubernetes) => name).sort()).toEqual(Object.values(mounts).sort());
  // Who is chosen by the Services and the budget.
  for (const { kind, spec } of objects) {
    if (kind === 'Service') expect(labels).toMatchObject(spec.selector);
    if (kind === 'PodDisruptionBudget') {
      expect(labels).toMatchObject(spec.selector.matchLabels);
      expect(spec.maxUnavailable).toBe(1);
    }
    if (kind === 'NetworkPolicy') expect(labels).toMatchObject(spec.podSelector.matchLabels);
    if (kind === 'HorizontalPodAutoscaler' || kind === 'ScaledObject') {
      expect(spec.scaleTargetRef).toMatchObject({ kind: workload.kind, name: workload.metadata.name });
      expect(workload.spec.replicas).toBeUndefined();
    }
  }
  // Without the optional secrets it starts as well.
  settingsOf(environmentOf(container, objects, false));
  const understood = settingsOf(environmentOf(container, objects, true));
  const [, seconds] = container.lifecycle.preStop.exec.command;
  expectGrace(pod.terminationGracePeriodSeconds, understood.settings, Number(seconds));
  return understood;
}

/** Upkeep as a CronJob: of the same store, not counted as a proxy, and the proxies leave it to it. */
export function expectUpkeepJob(objects: readonly Kubernetes[], proxies: Understood): void {
  const { spec } = only(objects, 'CronJob');
  const { metadata, spec: pod } = spec.jobTemplate.spec.template;
  expect(spec.concurrencyPolicy).toBe('Forbid');
  expectRestricted(pod);
  const [container] = pod.containers;
  expect(container.args).toEqual(['tier', 'run']);
  for (const { kind, spec } of objects) {
    if (kind === 'Service') expect(metadata.labels).not.toMatchObject(spec.selector);
    if (kind === 'PodDisruptionBudget') expect(metadata.labels).not.toMatchObject(spec.selector.matchLabels);
  }
  const own = settingsOf(environmentOf(container, objects, true));
  expect(own.store).toBe(proxies.store);
  expect(own.settings.storage.url).toBe(proxies.settings.storage.url);
  expect(proxies.settings.cleanup.autoEnabled).toBe(false);
}
