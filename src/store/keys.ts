/**
 * Object keys: which are valid in every store, and their order. One rule for all implementations, so that what works on a
 * disk works in a bucket and the other way round.
 */
import { ProxyError } from '../core/errors.ts';

export const KEY_BYTES_MAX = 900;
/** A part is a file name on a disk: 255 bytes there, less what the local store appends for versions. */
export const KEY_PART_BYTES_MAX = 240;

/** Suffix of the folder in which the local store keeps the versions of a replaced object. */
export const VERSIONS_SUFFIX = '.v%';
/** Folder of the local store for files that are being written. */
export const TEMPORARY_FOLDER = '.tmp';

const CONTROL_CHARACTERS = /\p{Cc}/u;

/** Undefined when the key is valid, otherwise what is wrong with it. */
export function keyProblem(key: string): string | undefined {
  if (key === '') return 'empty key';
  if (!key.isWellFormed()) return 'not well-formed Unicode';
  if (Buffer.byteLength(key) > KEY_BYTES_MAX) return `longer than ${KEY_BYTES_MAX} bytes`;
  if (CONTROL_CHARACTERS.test(key)) return 'a control character';
  if (key.includes('\\')) return 'a backslash';
  const parts = key.split('/');
  if (parts[0] === TEMPORARY_FOLDER) return `${TEMPORARY_FOLDER} is reserved`;
  for (const part of parts) {
    if (part === '' || part === '.' || part === '..') return `a part that is '${part}'`;
    if (Buffer.byteLength(part) > KEY_PART_BYTES_MAX) return `a part longer than ${KEY_PART_BYTES_MAX} bytes`;
    // NFS clients show deleted files that are still open under such names.
    if (part.endsWith(VERSIONS_SUFFIX) || part.startsWith('.nfs')) return `the reserved name '${part}'`;
  }
  return undefined;
}

/** Whether a valid key may begin so: all its whole parts are valid. */
export function canBePrefix(prefix: string): boolean {
  const end = prefix.lastIndexOf('/');
  return end < 0 || keyProblem(prefix.slice(0, end)) === undefined;
}

/** Throws STORE_INVALID. */
export function checkKey(key: string): void {
  const problem = keyProblem(key);
  if (problem !== undefined) throw new ProxyError('STORE_INVALID', `key ${JSON.stringify(shortened(key))}: ${problem}`);
}

function shortened(key: string): string {
  return key.length > 200 ? `${key.slice(0, 200)}…` : key;
}

/** Order of the UTF-8 bytes, which is the order of code points; plain `<` on strings differs beyond the BMP. */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index++) {
    const left = a.charCodeAt(index);
    const right = b.charCodeAt(index);
    if (left !== right) return rank(left) - rank(right);
  }
  return a.length - b.length;
}

/** Surrogates stand for code points above every other UTF-16 unit. */
function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
