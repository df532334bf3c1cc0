/**
 * Secrets at rest: AES-256-GCM under a key from configuration or generated into the data folder. A sealed value is
 * `key id (8 bytes) | nonce (12) | ciphertext | tag (16)`; the key id is the head of SHA-256 over the key, so that old keys
 * stay usable for opening after a change.
 */
import { createCipheriv, createDecipheriv, createHash } from 'node:crypto';
import { ProxyError } from './errors.ts';
import type { Random } from './random.ts';

const KEY_ID_BYTES = 8;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export interface Sealer {
  seal(plain: Uint8Array): Uint8Array;
  /** Throws ProxyError SEAL_KEY_MISSING when the key is unknown or the value was altered. */
  open(sealed: Uint8Array): Uint8Array;
  sealText(plain: string): string;
  openText(sealed: string): string;
}

/** `keys[0]` seals; all of them open. Each is 32 bytes. */
export function createSealer(keys: readonly Uint8Array[], random: Random): Sealer {
  const known = keys.map((key) => ({
    key,
    id: createHash('sha256').update(key).digest().subarray(0, KEY_ID_BYTES),
  }));
  const current = known[0];
  if (!current || keys.some((key) => key.byteLength !== 32)) {
    throw new ProxyError('CONFIG_INVALID', 'a seal key must be 32 bytes');
  }
  const seal = (plain: Uint8Array): Uint8Array => {
    const nonce = random.bytes(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', current.key, nonce);
    return Buffer.concat([current.id, nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
  };
  const open = (sealed: Uint8Array): Uint8Array => {
    const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
    const id = bytes.subarray(0, KEY_ID_BYTES);
    const owner = known.find((candidate) => id.equals(candidate.id));
    if (!owner || bytes.byteLength < KEY_ID_BYTES + NONCE_BYTES + TAG_BYTES) {
      throw new ProxyError('SEAL_KEY_MISSING', `no key with id ${id.toString('hex')}`);
    }
    const nonce = bytes.subarray(KEY_ID_BYTES, KEY_ID_BYTES + NONCE_BYTES);
    const decipher = createDecipheriv('aes-256-gcm', owner.key, nonce);
    decipher.setAuthTag(bytes.subarray(bytes.byteLength - TAG_BYTES));
    try {
      const inner = bytes.subarray(KEY_ID_BYTES + NONCE_BYTES, bytes.byteLength - TAG_BYTES);
      return Buffer.concat([decipher.update(inner), decipher.final()]);
    } catch (cause) {
      throw new ProxyError('SEAL_KEY_MISSING', 'the sealed value does not verify', { cause });
    }
  };
  return {
    seal,
    open,
    sealText: (plain) => Buffer.from(seal(Buffer.from(plain, 'utf8'))).toString('base64'),
    openText: (sealed) => Buffer.from(open(Buffer.from(sealed, 'base64'))).toString('utf8'),
  };
}

/** What may be shown of a secret: the first 16 hex digits of its SHA-256; '' for the empty secret. */
export function fingerprintOf(secret: string): string {
  return secret === '' ? '' : createHash('sha256').update(secret).digest('hex').slice(0, 16);
}
