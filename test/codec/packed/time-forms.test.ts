import { expect, test } from 'vitest';
import { FORM_MS_MAX, FORM_MS_MIN, matchTime, TIME_FORMS, writeTime } from '../../../src/codec/packed/time-forms.ts';
import { seededRandom } from '../../../src/core/random.ts';

const random = seededRandom(1).next;
const times = Array.from({ length: 200 }, () => FORM_MS_MIN + Math.floor(random() * (FORM_MS_MAX - FORM_MS_MIN)));

test('every form is found again in what it writes, as the own time of the row', () => {
  for (const { letter } of TIME_FORMS) {
    for (const ms of times) {
      const text = `x ${writeTime(letter, ms)} y`;
      // Milliseconds are found behind seconds only.
      if (letter === 'm') continue;
      const found = matchTime(text, 2, ms);
      expect(found?.offsetMs, `${letter} ${text}`).toBe(0);
      expect(writeTime(found!.letter, ms)).toBe(text.slice(2, 2 + found!.length));
    }
  }
});

test('another time is told by its offset, which gives the same text', () => {
  for (const { letter } of TIME_FORMS) {
    if ('mno'.includes(letter)) continue;
    for (const ms of times.slice(0, 50)) {
      const offsetMs = Math.floor((random() - 0.5) * 86_400_000);
      if (ms + offsetMs < FORM_MS_MIN || ms + offsetMs >= FORM_MS_MAX) continue;
      const text = writeTime(letter, ms + offsetMs);
      const found = matchTime(text, 0, ms);
      // A year that is left out may be another one.
      if (!found) continue;
      expect(writeTime(found.letter, ms + found.offsetMs)).toBe(text.slice(0, found.length));
    }
  }
});

test('what is no time is none', () => {
  const ms = 1_790_000_000_000;
  for (const text of ['2026-02-30T00:00:00', '2026-13-01 00:00:00', '99:99:99', 'Foo 11 10:00:00', '12345678901', '']) {
    expect(matchTime(text, 0, ms), text).toBeUndefined();
  }
});
