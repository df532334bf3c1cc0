/**
 * Files that take minutes start first, so that at the end no worker is left with one of them alone. What needs servers comes after what
 * needs none (CI installs them meanwhile), and the kills come last: they take the time that is left.
 */
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const FIRST = [
  'test/corpus/corpus.test.ts',
  'test/e2e/vendor.test.ts',
  'test/archive/upkeep/upkeep.test.ts',
  'test/e2e/upkeep.test.ts',
  'test/e2e/hostile.test.ts',
  'test/e2e/volume.test.ts',
  'test/docs/commands.test.ts',
  'test/archive/upkeep/segment-lists.test.ts',
  'test/e2e/full-disk.test.ts',
  'test/store/store.test.ts',
  'test/journal/crash-simulation.test.ts',
];
const LAST = [
  'test/e2e/balancers.test.ts',
  'test/deploy/balancers/balancers.test.ts',
  'test/deploy/balancers/drain.test.ts',
  'test/deploy/blue-green.test.ts',
  'test/docs/haproxy.test.ts',
  'test/store/azure-store.test.ts',
  'test/chaos/chaos.test.ts',
  'test/e2e/takeover.test.ts',
  'test/cli/storage.test.ts',
  'test/store/s3-faults.test.ts',
  'test/store/gcs-store.test.ts',
  'test/store/s3-store.test.ts',
  'test/deploy/bundle.test.ts',
  // Their tools are installed after the servers.
  'test/deploy/image.test.ts',
  'test/deploy/balancers/load.test.ts',
  'test/deploy/balancers/files.test.ts',
  'test/deploy/manifests-in-use.test.ts',
  'test/deploy/compose.test.ts',
  'test/deploy/lint.test.ts',
  'test/deploy/aws.test.ts',
  'test/deploy/kubernetes.test.ts',
  'test/deploy/helm.test.ts',
  'test/deploy/monitoring.test.ts',
  'test/deploy/prometheus.test.ts',
  'test/deploy/scripts/drain-update.test.ts',
  'test/deploy/scripts/backup.test.ts',
  'test/deploy/scripts/chaos-load.test.ts',
  'test/deploy/scripts/switches.test.ts',
  'test/deploy/scripts/health-verify.test.ts',
  'test/deploy/scripts/docs.test.ts',
  'test/deploy/scripts/deploy.test.ts',
  'test/deploy/scripts/common.test.ts',
  'test/crash/kill-stores.test.ts',
  'test/crash/kill.test.ts',
];

export default class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rankOf = ({ moduleId }: TestSpecification): number => {
      const isOne = (path: string): boolean => moduleId.endsWith(path);
      const first = FIRST.findIndex(isOne);
      return first >= 0 ? first - FIRST.length : LAST.findIndex(isOne) + 1;
    };
    return (await super.sort(files)).sort((a, b) => rankOf(a) - rankOf(b));
  }
}
