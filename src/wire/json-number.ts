/**
 * When does a double stand for a JSON number exactly? The promise is equality by decimal value: what a double prints
 * (shortest form) must denote the same decimal as the text that was sent. Anything else is kept as its text.
 */

/** A decimal as digits without leading or trailing zeros and a power of ten: value = 0.digits × 10^exponent. */
interface Decimal {
  negative: boolean;
  digits: string;
  exponent: number;
}

const PARTS = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/;

function decimalOf(text: string): Decimal | undefined {
  const parts = PARTS.exec(text);
  if (!parts) return undefined;
  const whole = parts[2]!;
  const fraction = parts[3] ?? '';
  const all = whole + fraction;
  let start = 0;
  while (start < all.length && all.charCodeAt(start) === 48) start += 1;
  let end = all.length;
  while (end > start && all.charCodeAt(end - 1) === 48) end -= 1;
  const digits = all.slice(start, end);
  const exponent = digits === '' ? 0 : whole.length - start + Number(parts[4] ?? '0');
  return { negative: parts[1] === '-', digits, exponent };
}

/** JSON text of a finite double that parses back to the same bits; keeps the sign of -0. */
export function textOfDouble(value: number): string {
  return Object.is(value, -0) ? '-0' : String(value);
}

/** True when `value` (= Number(text)) is finite and prints the same decimal value, sign of zero included. */
export function isExactDouble(text: string, value: number): boolean {
  if (!Number.isFinite(value)) return false;
  // Most senders print the shortest form themselves.
  if (String(value) === text) return true;
  // 15 significant digits always survive the way through a double, unless it underflows.
  if (text.length <= 15 && !text.includes('e') && !text.includes('E')) return true;
  const sent = decimalOf(text);
  const kept = decimalOf(textOfDouble(value));
  if (!sent || !kept) return false;
  return sent.negative === kept.negative && sent.digits === kept.digits && sent.exponent === kept.exponent;
}
