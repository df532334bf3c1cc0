/**
 * Times as messages write them: found in a text, and written again from the row's own time. What holds: a match is only one whose text is, letter
 * for letter, what `writeTime` gives, so that a template may stand for it. All are UTC; a sender in another zone shows as an offset.
 */

export interface TimeForm {
  /** In placeholders. */
  letter: string;
  /** As `strftime` of DuckDB writes it; `sql` where that is not enough. */
  strftime: string;
}

/** The letters are part of the format: none may change its meaning. */
export const TIME_FORMS: readonly TimeForm[] = [
  { letter: 'a', strftime: '%Y-%m-%dT%H:%M:%S' },
  { letter: 'b', strftime: '%Y-%m-%d %H:%M:%S' },
  { letter: 'c', strftime: '%d/%b/%Y:%H:%M:%S' },
  { letter: 'd', strftime: '%a %b %d %H:%M:%S %Y' },
  { letter: 'e', strftime: '%b %d %H:%M:%S' },
  // The day with a space before a single digit: strftime has no name for it everywhere.
  { letter: 'f', strftime: '%b {day} %H:%M:%S' },
  { letter: 'g', strftime: '%y/%m/%d %H:%M:%S' },
  { letter: 'h', strftime: '%Y/%m/%d %H:%M:%S' },
  { letter: 'i', strftime: '%y%m%d %H%M%S' },
  { letter: 'j', strftime: '%m-%d %H:%M:%S' },
  { letter: 'k', strftime: '{seconds}' },
  { letter: 'l', strftime: '{milliseconds}' },
  { letter: 'm', strftime: '%g' },
  { letter: 'n', strftime: '%H:%M:%S' },
  { letter: 'o', strftime: '%Y-%m-%d' },
  { letter: 'r', strftime: '%Y-%m-%d-%H.%M.%S' },
];

/** Times before and after are left as text: years of four digits, whole numbers of ten and thirteen digits. */
export const FORM_MS_MIN = 1_000_000_000_000;
export const FORM_MS_MAX = 4_102_444_800_000;
/** Another time than the row's that is further away is text: a year left out would be guessed. */
const OFFSET_MS_MAX = 2 * 86_400_000;

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const two = (value: number): string => (value < 10 ? `0${value}` : String(value));

export function isFormTime(ms: number): boolean {
  return ms >= FORM_MS_MIN && ms < FORM_MS_MAX;
}

/** `ms` lies within the bounds. */
export function writeTime(letter: string, ms: number): string {
  if (letter === 'k') return String(Math.floor(ms / 1000));
  if (letter === 'l') return String(ms);
  if (letter === 'm') return String(ms % 1000).padStart(3, '0');
  const date = new Date(ms);
  const day = date.getUTCDate();
  const month = date.getUTCMonth();
  const year = date.getUTCFullYear();
  const [hour, minute, second] = [two(date.getUTCHours()), two(date.getUTCMinutes()), two(date.getUTCSeconds())];
  const clock = `${hour}:${minute}:${second}`;
  switch (letter) {
    case 'a':
      return `${year}-${two(month + 1)}-${two(day)}T${clock}`;
    case 'b':
      return `${year}-${two(month + 1)}-${two(day)} ${clock}`;
    case 'c':
      return `${two(day)}/${MONTHS[month]}/${year}:${clock}`;
    case 'd':
      return `${DAYS[date.getUTCDay()]} ${MONTHS[month]} ${two(day)} ${clock} ${year}`;
    case 'e':
      return `${MONTHS[month]} ${two(day)} ${clock}`;
    case 'f':
      return `${MONTHS[month]} ${String(day).padStart(2, ' ')} ${clock}`;
    case 'g':
      return `${two(year % 100)}/${two(month + 1)}/${two(day)} ${clock}`;
    case 'h':
      return `${year}/${two(month + 1)}/${two(day)} ${clock}`;
    case 'i':
      return `${two(year % 100)}${two(month + 1)}${two(day)} ${hour}${minute}${second}`;
    case 'j':
      return `${two(month + 1)}-${two(day)} ${clock}`;
    case 'n':
      return clock;
    case 'o':
      return `${year}-${two(month + 1)}-${two(day)}`;
    case 'r':
      return `${year}-${two(month + 1)}-${two(day)}-${hour}.${minute}.${second}`;
    default:
      throw new Error(`no form of time is called ${letter}`);
  }
}

export interface TimeMatch {
  letter: string;
  length: number;
  /** What the text says less the row's own time; to the second where the form has no fraction. */
  offsetMs: number;
}

interface Candidate {
  letter: string;
  pattern: RegExp;
  /** Milliseconds since 1970, NaN where it is no time; without a fraction. */
  parse: (text: string, rowMs: number) => number;
}

const number = (text: string, start: number, end: number): number => Number(text.slice(start, end));
const monthOf = (text: string, start: number): number => MONTHS.indexOf(text.slice(start, start + 3));

function at(year: number, month: number, day: number, text: string, clock: number, step = 3): number {
  const [hour, minute, second] = [0, 1, 2].map((i) => number(text, clock + i * step, clock + i * step + 2));
  return Date.UTC(year, month, day, hour, minute, second);
}

const yearOf = (ms: number): number => new Date(ms).getUTCFullYear();
const iso = (text: string): number => at(number(text, 0, 4), number(text, 5, 7) - 1, number(text, 8, 10), text, 11);

/** Tried in this order where a text has a digit or a capital letter at the start of a word. */
const OF_DIGITS: readonly Candidate[] = [
  { letter: 'a', pattern: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/y, parse: iso },
  { letter: 'b', pattern: /\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/y, parse: iso },
  { letter: 'r', pattern: /\d{4}-\d\d-\d\d-\d\d\.\d\d\.\d\d/y, parse: iso },
  {
    letter: 'c',
    pattern: /\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d/y,
    parse: (t) => at(number(t, 7, 11), monthOf(t, 3), number(t, 0, 2), t, 12),
  },
  {
    letter: 'g',
    pattern: /\d\d\/\d\d\/\d\d \d\d:\d\d:\d\d/y,
    parse: (t) => at(2000 + number(t, 0, 2), number(t, 3, 5) - 1, number(t, 6, 8), t, 9),
  },
  {
    letter: 'h',
    pattern: /\d{4}\/\d\d\/\d\d \d\d:\d\d:\d\d/y,
    parse: iso,
  },
  {
    letter: 'i',
    pattern: /\d{6} \d{6}(?!\d)/y,
    parse: (t) => at(2000 + number(t, 0, 2), number(t, 2, 4) - 1, number(t, 4, 6), t, 7, 2),
  },
  {
    letter: 'j',
    pattern: /\d\d-\d\d \d\d:\d\d:\d\d/y,
    parse: (t, rowMs) => at(yearOf(rowMs), number(t, 0, 2) - 1, number(t, 3, 5), t, 6),
  },
  { letter: 'k', pattern: /\d{10}(?!\d)/y, parse: (t) => Number(t) * 1000 },
  { letter: 'l', pattern: /\d{13}(?!\d)/y, parse: Number },
];

const OF_LETTERS: readonly Candidate[] = [
  {
    letter: 'd',
    pattern: /[A-Z][a-z]{2} [A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d \d{4}/y,
    parse: (t) => at(number(t, 20, 24), monthOf(t, 4), number(t, 8, 10), t, 11),
  },
  {
    letter: 'f',
    pattern: /[A-Z][a-z]{2} [ 1-3]\d \d\d:\d\d:\d\d/y,
    parse: (t, rowMs) => at(yearOf(rowMs), monthOf(t, 0), number(t, 4, 6), t, 7),
  },
  {
    letter: 'e',
    pattern: /[A-Z][a-z]{2} 0\d \d\d:\d\d:\d\d/y,
    parse: (t, rowMs) => at(yearOf(rowMs), monthOf(t, 0), number(t, 4, 6), t, 7),
  },
];

/** Of these only the row's own time counts: they do not tell the day, or not the hour. */
const OWN_ONLY: readonly { letter: string; pattern: RegExp }[] = [
  { letter: 'n', pattern: /\d\d:\d\d:\d\d(?!\d)/y },
  { letter: 'o', pattern: /\d{4}-\d\d-\d\d(?!\d)/y },
];

const isDigit = (code: number): boolean => code >= 48 && code <= 57;

/** A time that begins at `start`, where a word begins. `rowMs` lies within the bounds. */
export function matchTime(text: string, start: number, rowMs: number): TimeMatch | undefined {
  const digit = isDigit(text.charCodeAt(start));
  const rowSecondMs = rowMs - (rowMs % 1000);
  for (const { letter, pattern, parse } of digit ? OF_DIGITS : OF_LETTERS) {
    pattern.lastIndex = start;
    const found = pattern.exec(text)?.[0];
    if (found === undefined) continue;
    const toldMs = parse(found, rowMs) + (letter === 'l' ? 0 : fractionMs(text, start + found.length));
    const hasFraction = letter === 'l' || hasMillis(text, start + found.length);
    const offsetMs = toldMs - (hasFraction ? rowMs : rowSecondMs);
    if (!(Math.abs(offsetMs) <= OFFSET_MS_MAX) || !isFormTime(rowMs + offsetMs)) continue;
    if (writeTime(letter, rowMs + offsetMs) === found) return { letter, length: found.length, offsetMs };
  }
  if (!digit) return undefined;
  for (const { letter, pattern } of OWN_ONLY) {
    pattern.lastIndex = start;
    const found = pattern.exec(text)?.[0];
    if (found !== undefined && writeTime(letter, rowMs) === found) return { letter, length: found.length, offsetMs: 0 };
  }
  return undefined;
}

/** `.123` or `,123`, with or without further digits, right after a second. */
export function hasMillis(text: string, at: number): boolean {
  const mark = text.charCodeAt(at);
  if (mark !== 0x2e && mark !== 0x2c) return false;
  return isDigit(text.charCodeAt(at + 1)) && isDigit(text.charCodeAt(at + 2)) && isDigit(text.charCodeAt(at + 3));
}

function fractionMs(text: string, at: number): number {
  return hasMillis(text, at) ? number(text, at + 1, at + 4) : 0;
}
