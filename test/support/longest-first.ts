/** Files that take minutes start first, so that at the end no worker is left with one of them alone. */
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const LONGEST = [
  'test/crash/kill.test.ts',
  'test/corpus/corpus.test.ts',
  'test/crash/kill-stores.test.ts',
  'test/e2e/vendor.test.ts',
  'test/e2e/hostile.test.ts',
  'test/store/azure-store.test.ts',
  'test/store/s3-faults.test.ts',
];

export default class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rankOf = ({ moduleId }: TestSpecification): number => {
      const rank = LONGEST.findIndex((path) => moduleId.endsWith(path));
      return rank < 0 ? LONGEST.length : rank;
    };
    return (await super.sort(files)).sort((a, b) => rankOf(a) - rankOf(b));
  }
}
