/** Which of several equal requests at once are retries of which. */
import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { type Flight, RetryMemory } from '../../src/intake/retry-memory.ts';

const HASH = 'h1';

interface Sender {
  flight: Flight;
  hangUp(): void;
}

function memory(): { retries: RetryMemory; send(likeness?: string): Sender } {
  const retries = new RetryMemory({ clock: systemClock, windowMs: 60_000, entriesMax: 100 });
  return {
    retries,
    send: (likeness = '/api/v2/logs 20') => {
      let isGone = false;
      const flight = retries.begin(likeness, () => isGone);
      return {
        flight,
        hangUp: () => {
          isGone = true;
        },
      };
    },
  };
}

/** What the intake does once a request is decoded. Resolves to whether it was appended. */
async function land(retries: RetryMemory, { flight }: Sender, position: number): Promise<boolean> {
  const claim = await retries.match(flight, HASH, undefined);
  const isHeard = !flight.hasHungUp();
  if (claim) claim.settle(isHeard);
  else if (!isHeard) retries.remember(HASH, { position });
  retries.end(flight);
  return claim === undefined;
}

test('a retry that is decoded before what it repeats waits for it', async () => {
  const { retries, send } = memory();
  const [first, retry] = [send(), send()];
  first.hangUp();
  const early = land(retries, retry, 2);
  expect(await land(retries, first, 1)).toBe(true);
  expect(await early).toBe(false);
  expect(retries.size).toBe(0);
});

test('whichever arrived first', async () => {
  const { retries, send } = memory();
  const [retry, first] = [send(), send()];
  first.hangUp();
  const early = land(retries, retry, 1);
  expect(await land(retries, first, 2)).toBe(true);
  expect(await early).toBe(false);
});

test('equal requests whose senders listen do not wait for each other', async () => {
  const { retries, send } = memory();
  const senders = [send(), send(), send()];
  expect(await land(retries, senders[2]!, 1)).toBe(true);
  expect(await land(retries, senders[0]!, 2)).toBe(true);
  expect(await land(retries, senders[1]!, 3)).toBe(true);
});

test('of many whose senders gave up one is kept, and none waits for ever', async () => {
  const { retries, send } = memory();
  const senders = Array.from({ length: 6 }, () => send());
  for (const sender of senders.slice(0, 5)) sender.hangUp();
  const kept = await Promise.all(senders.map((sender, index) => land(retries, sender, index)));
  expect(kept.filter(Boolean)).toHaveLength(1);
  expect(retries.size).toBe(0);
});

test('a sender that gives up while it waits closes no circle', async () => {
  const { retries, send } = memory();
  const [one, other] = [send(), send()];
  other.hangUp();
  const first = land(retries, one, 1);
  // Until it waits.
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
  one.hangUp();
  const second = land(retries, other, 2);
  expect((await Promise.all([first, second])).filter(Boolean)).toHaveLength(1);
});

test('a body of another length is nobody’s retry', async () => {
  const { retries, send } = memory();
  send('/api/v2/logs 21').hangUp();
  expect(await land(retries, send(), 1)).toBe(true);
});

test('what failed leaves its retry to be kept', async () => {
  const { retries, send } = memory();
  const [first, retry] = [send(), send()];
  first.hangUp();
  const waiting = land(retries, retry, 1);
  retries.end(first.flight);
  expect(await waiting).toBe(true);
});
