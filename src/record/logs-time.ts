/**
 * Best-effort times of logs and events, in milliseconds since the epoch. Senders write seconds, milliseconds, microseconds or
 * nanoseconds, or ISO 8601 text; what was sent stays exact elsewhere, so a wrong guess here costs a partition, never a value.
 * Nothing here depends on the machine's time zone: text without a zone is read as UTC.
 */

/** Numbers from here on are milliseconds; smaller ones are seconds (as milliseconds, 1e11 is March 1973). */
export const MS_FROM = 1e11;
/** Numbers from here on are microseconds, and from MS_FROM × 1e6 on nanoseconds. */
const MS_BELOW = 1e14;
const NS_FROM = 1e17;
/** Largest time a JavaScript date can hold; beyond it the guess is given up. */
const TIME_MS_MAX = 8.64e15;

/** Milliseconds of a number whose unit is told by its size; undefined for zero, negative and non-finite ones. */
export function timeOfNumber(value: number): number | undefined {
  if (!(value > 0) || value === Number.POSITIVE_INFINITY) return undefined;
  if (value < MS_FROM) return Math.floor(value * 1000);
  if (value < MS_BELOW) return Math.floor(value);
  const ms = value < NS_FROM ? Math.floor(value / 1000) : Math.floor(value / 1e6);
  return ms <= TIME_MS_MAX ? ms : undefined;
}

/** date, hour:minute[:second[.fraction]], zone; date and time parted by T or a space. */
const ISO =
  /^(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9})\d*)?)?\s?(Z|z|[+-]\d\d(?::?\d\d)?)?)?$/;
const TIME_TEXT_CHARS_MAX = 64;

/** Milliseconds of ISO 8601 text or of a number written as text; undefined where it is neither. */
export function timeOfText(text: string): number | undefined {
  if (text.length > TIME_TEXT_CHARS_MAX) return undefined;
  if (/^\d{1,19}(?:\.\d+)?$/.test(text)) return text.length < 9 ? undefined : timeOfNumber(Number(text));
  const parts = ISO.exec(text);
  if (!parts) return undefined;
  const month = Number(parts[2]);
  const day = Number(parts[3]);
  const hour = Number(parts[4] ?? 0);
  const minute = Number(parts[5] ?? 0);
  const second = Number(parts[6] ?? 0);
  if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 24 || minute > 59 || second > 60) return undefined;
  const milliseconds = Number((parts[7] ?? '').padEnd(3, '0').slice(0, 3));
  // Date.UTC reads years below 100 as 19xx; such a time is no time of a log anyway.
  if (Number(parts[1]) < 100) return undefined;
  const utc = Date.UTC(Number(parts[1]), month - 1, day, hour, minute, second, milliseconds);
  return utc - zoneMinutes(parts[8]) * 60_000;
}

function zoneMinutes(zone: string | undefined): number {
  if (zone === undefined || zone === 'Z' || zone === 'z') return 0;
  const digits = zone.slice(1).replace(':', '');
  const minutes = Number(digits.slice(0, 2)) * 60 + Number(digits.slice(2) || '0');
  return zone.startsWith('-') ? -minutes : minutes;
}

const DASH = 0x2d;
const COLON = 0x3a;
const POINT = 0x2e;
const QUOTE = 0x22;
const LETTER_T = 0x54;
const LETTER_Z = 0x5a;
const FRACTION_DIGITS_MAX = 9;

/** Reads the usual form, `2026-09-21T14:13:24.423Z`, from bytes: as `timeOfText`, but most times are of the day of the one before. */
export class TimeReader {
  /** After `read`. */
  timeMs = 0;
  /** After `read`: where the closing quote is. */
  end = 0;
  #day = -1;
  #dayMs = 0;

  /** `start` is behind the opening quote. False: another form, or no time at all. */
  read(bytes: Uint8Array, start: number, limit: number): boolean {
    if (limit - start < 21 || bytes[start + 4] !== DASH || bytes[start + 7] !== DASH || bytes[start + 10] !== LETTER_T)
      return false;
    if (bytes[start + 13] !== COLON || bytes[start + 16] !== COLON) return false;
    const day =
      twoDigits(bytes, start) * 1e6 +
      twoDigits(bytes, start + 2) * 1e4 +
      twoDigits(bytes, start + 5) * 100 +
      twoDigits(bytes, start + 8);
    const hour = twoDigits(bytes, start + 11);
    const minute = twoDigits(bytes, start + 14);
    const second = twoDigits(bytes, start + 17);
    // NaN where there is no digit: nothing is true of it.
    if (!(day >= 0 && hour < 24 && minute < 60 && second < 60)) return false;
    let at = start + 19;
    let milliseconds = 0;
    if (bytes[at] === POINT) {
      const from = at + 1;
      let unit = 100;
      for (at = from; at - from < FRACTION_DIGITS_MAX; at++) {
        const digit = bytes[at]! - 0x30;
        if (!(digit >= 0 && digit <= 9)) break;
        if (unit >= 1) milliseconds += digit * unit;
        unit /= 10;
      }
      if (at === from) return false;
    }
    if (bytes[at] !== LETTER_Z || bytes[at + 1] !== QUOTE || at + 1 >= limit) return false;
    if (day !== this.#day && !this.#setDay(day)) return false;
    this.timeMs = this.#dayMs + ((hour * 60 + minute) * 60 + second) * 1000 + milliseconds;
    this.end = at + 1;
    return true;
  }

  #setDay(day: number): boolean {
    const year = Math.floor(day / 1e4);
    const month = Math.floor(day / 100) % 100;
    const ofMonth = day % 100;
    if (year < 100 || month < 1 || month > 12 || ofMonth < 1 || ofMonth > 31) return false;
    this.#day = day;
    this.#dayMs = Date.UTC(year, month - 1, ofMonth);
    return true;
  }
}

/** NaN where one of the two is no digit. */
function twoDigits(bytes: Uint8Array, at: number): number {
  const tens = bytes[at]! - 0x30;
  const ones = bytes[at + 1]! - 0x30;
  return tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9 ? tens * 10 + ones : Number.NaN;
}
