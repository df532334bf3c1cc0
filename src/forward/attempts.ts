/**
 * Attempts that are under way, so that some can be recalled: a vendor that hangs must not pin positions of the journal until its
 * time-out. A recalled attempt tells nothing about the vendor, which may have taken the envelope: it is sent again, later.
 */
import type { Parcel } from './parcel.ts';

export interface Attempt {
  readonly signal: AbortSignal;
  readonly isRecalled: boolean;
  /** Must be called when it ended, however it did. */
  end(): void;
}

export class Attempts {
  readonly #stopped: AbortSignal;
  readonly #underWay = new Map<Parcel, { startedAtMs: number; recall: () => void }>();

  /** `stopped` ends all of them. */
  constructor(stopped: AbortSignal) {
    this.#stopped = stopped;
  }

  /** Monotonic time. */
  begin(parcel: Parcel, startedAtMs: number): Attempt {
    const stopped = this.#stopped;
    const ending = new AbortController();
    let isRecalled = false;
    const onStop = (): void => ending.abort(stopped.reason);
    if (stopped.aborted) onStop();
    stopped.addEventListener('abort', onStop, { once: true });
    const recall = (): void => {
      isRecalled = true;
      ending.abort(new Error('recalled'));
    };
    this.#underWay.set(parcel, { startedAtMs, recall });
    return {
      signal: ending.signal,
      get isRecalled() {
        return isRecalled;
      },
      end: () => {
        stopped.removeEventListener('abort', onStop);
        this.#underWay.delete(parcel);
      },
    };
  }

  /** Ends those of envelopes from the journal that began at or before this time. */
  recall(startedToMs: number): void {
    for (const [parcel, { startedAtMs, recall }] of this.#underWay) {
      if (parcel.source.kind === 'journal' && startedAtMs <= startedToMs) recall();
    }
  }
}
