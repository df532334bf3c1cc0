import { expect, it } from 'vitest';
import { createManualClock } from '../support/manual-clock.ts';

it('fires timers in order, each at its own time, also those set meanwhile', async () => {
  const clock = createManualClock(1000);
  const fired: string[] = [];
  clock.after(30, () => fired.push(`b at ${clock.nowMs()}`));
  clock.after(10, () => {
    fired.push(`a at ${clock.nowMs()}`);
    clock.after(5, () => fired.push(`c at ${clock.monotonicMs()}`));
  });
  const cancel = clock.after(20, () => fired.push('never'));
  cancel();
  void clock.sleep(12).then(() => fired.push(`slept until ${clock.nowMs()}`));
  await clock.advance(29);
  expect(fired).toEqual(['a at 1010', 'slept until 1012', 'c at 15']);
  expect([clock.waiting, clock.nextAtMs]).toEqual([1, 30]);
  await clock.advance(1);
  expect(fired.at(-1)).toBe('b at 1030');
});

it('wakes sleepers that are aborted, and lets the wall clock jump alone', async () => {
  const clock = createManualClock(0);
  const abort = new AbortController();
  const sleeping = expect(clock.sleep(1000, abort.signal)).rejects.toThrow('enough');
  abort.abort(new Error('enough'));
  await sleeping;
  await expect(clock.sleep(1, abort.signal)).rejects.toThrow('enough');
  expect(clock.waiting).toBe(0);
  clock.jumpTo(5_000_000);
  expect([clock.nowMs(), clock.monotonicMs()]).toEqual([5_000_000, 0]);
});
