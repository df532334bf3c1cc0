/**
 * One text per JSON value, so that equal values (same keys in the same order with the same duplicates, numbers equal as decimals,
 * sign of zero included, strings equal as UTF-16) have equal texts and can be compared by hash. Written for speed: the corpus has
 * gigabytes. Own work on purpose: neither src/wire nor JSON.parse decides what is equal (escapes in strings aside).
 */

/** How a body holds its items: `[item,…]`, `{"series":[item,…]}` or `[[item,…],…]`. */
export type BodyForm = 'list' | 'series' | 'chunks';

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const SPACE = /[ \t\r\n]*/y;
const PLAIN_INTEGER = /^-?[0-9]*[1-9]$|^0$/;
const QUOTE = 0x22;

/** Canonical text of a whole document. Throws SyntaxError. */
export function canonicalJson(text: string): string {
  const scanner = new Scanner(text);
  const value = scanner.value();
  scanner.end();
  return value;
}

/** Canonical text of every item of a body, in order. Throws SyntaxError on a body of another form. */
export function canonicalItems(text: string, form: BodyForm): string[] {
  const scanner = new Scanner(text);
  const items: string[] = [];
  if (form === 'chunks') scanner.elements(() => scanner.elements(() => items.push(scanner.value())));
  else if (form === 'list') scanner.elements(() => items.push(scanner.value()));
  else {
    scanner.take('{');
    if (scanner.value() !== '"series"') throw new SyntaxError('a body of series begins with the key "series"');
    scanner.take(':');
    scanner.elements(() => items.push(scanner.value()));
    scanner.take('}');
  }
  scanner.end();
  return items;
}

/** The canonical text of a value in memory. A bigint is a number; a number that is not finite is a string. */
export function canonicalOf(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value);
    case 'number':
      return Number.isFinite(value) ? canonicalNumber(Object.is(value, -0) ? '-0' : String(value)) : `"${value}"`;
    case 'bigint':
      return canonicalNumber(String(value));
    case 'boolean':
      return String(value);
  }
  if (value === null) return 'null';
  if (Array.isArray(value)) return `[${value.map(canonicalOf).join(',')}]`;
  if (typeof value !== 'object') throw new TypeError(`no JSON value: ${typeof value}`);
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${canonicalOf(member)}`).join(',')}}`;
}

/** sign, digits without leading or trailing zeros, `e` and exponent unless it is 0. */
function canonicalNumber(text: string): string {
  if (PLAIN_INTEGER.test(text)) return text;
  const [mantissa = '', exponentText = '0'] = text.toLowerCase().split('e');
  const sign = mantissa.startsWith('-') ? '-' : '';
  const [whole = '', fraction = ''] = mantissa.slice(sign.length).split('.');
  const digits = (whole + fraction).replace(/^0+/, '');
  const kept = digits.replace(/0+$/, '');
  if (kept === '') return `${sign}0`;
  const exponent = Number(exponentText) - fraction.length + digits.length - kept.length;
  return exponent === 0 ? sign + kept : `${sign}${kept}e${exponent}`;
}

class Scanner {
  readonly #text: string;
  #at = 0;
  /** The next backslash from here on, or the end. */
  #backslash = -1;

  constructor(text: string) {
    this.#text = text;
  }

  elements(read: () => void): void {
    this.take('[');
    if (this.#has(']')) return;
    do read();
    while (this.#has(','));
    this.take(']');
  }

  take(mark: string): void {
    if (!this.#has(mark)) this.#fail(`expected ${mark}`);
  }

  end(): void {
    this.#space();
    if (this.#at !== this.#text.length) this.#fail('trailing content');
  }

  value(): string {
    this.#space();
    const text = this.#text;
    switch (text[this.#at]) {
      case '"':
        return this.#string();
      case '{': {
        this.#at += 1;
        if (this.#has('}')) return '{}';
        let out = '{';
        do {
          this.#space();
          out += out.length === 1 ? this.#string() : `,${this.#string()}`;
          this.take(':');
          out += `:${this.value()}`;
        } while (this.#has(','));
        this.take('}');
        return `${out}}`;
      }
      case '[': {
        let out = '[';
        this.elements(() => {
          out += out.length === 1 ? this.value() : `,${this.value()}`;
        });
        return `${out}]`;
      }
      case 't':
        return this.#word('true');
      case 'f':
        return this.#word('false');
      case 'n':
        return this.#word('null');
    }
    NUMBER.lastIndex = this.#at;
    const match = NUMBER.exec(text);
    if (!match) this.#fail('unexpected character');
    this.#at = NUMBER.lastIndex;
    return canonicalNumber(match![0]);
  }

  #string(): string {
    const text = this.#text;
    const start = this.#at;
    if (text.charCodeAt(start) !== QUOTE) this.#fail('expected a string');
    if (this.#backslash < start) {
      const found = text.indexOf('\\', start);
      this.#backslash = found < 0 ? text.length : found;
    }
    let end = text.indexOf('"', start + 1);
    if (end >= 0 && end < this.#backslash) {
      this.#at = end + 1;
      return text.slice(start, end + 1);
    }
    for (end = start + 1; text.charCodeAt(end) !== QUOTE; end++) {
      if (end >= text.length) this.#fail('string without an end');
      if (text[end] === '\\') end += 1;
    }
    this.#at = end + 1;
    return JSON.stringify(JSON.parse(text.slice(start, end + 1)));
  }

  #word(word: string): string {
    if (!this.#text.startsWith(word, this.#at)) this.#fail('unexpected character');
    this.#at += word.length;
    return word;
  }

  #has(mark: string): boolean {
    this.#space();
    if (this.#text[this.#at] !== mark) return false;
    this.#at += 1;
    return true;
  }

  #space(): void {
    if (this.#text.charCodeAt(this.#at) > 0x20) return;
    SPACE.lastIndex = this.#at;
    SPACE.exec(this.#text);
    this.#at = SPACE.lastIndex;
  }

  #fail(what: string): never {
    throw new SyntaxError(`${what} at ${this.#at} of ${JSON.stringify(this.#text.slice(0, 200))}`);
  }
}
