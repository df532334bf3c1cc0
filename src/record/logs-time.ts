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
