/**
 * Which key an envelope is sent with, and the gate before each key. One refused key never holds up another. With a configured
 * key there is one gate for all, so that its pause is a pause of the upstream.
 */
import type { EnvelopeHead } from '../core/envelope.ts';
import { isProxyError } from '../core/errors.ts';
import type { ForwardSettings } from './forward-options.ts';
import { Gate } from './gate.ts';

export type KeyChoice =
  | { kind: 'key'; key: string | undefined }
  | { kind: 'missing' }
  /** Sealed with a key that this process does not know. */
  | { kind: 'unreadable' };

const SHARED = 'shared';
/** Callers' keys whose state is remembered. */
const KEYS_MAX = 10_000;

export class Keys {
  readonly #settings: Pick<ForwardSettings, 'key' | 'openKey' | 'keyRequired'>;
  readonly #gates = new Map<string, Gate>();
  readonly #shared = new Gate();
  /** Those that may be shut. */
  readonly #shut = new Set<Gate>();

  constructor(settings: Pick<ForwardSettings, 'key' | 'openKey' | 'keyRequired'>) {
    this.#settings = settings;
  }

  choose(head: EnvelopeHead): KeyChoice {
    const { key, keyRequired, openKey } = this.#settings;
    if (key !== undefined && key !== '') return { kind: 'key', key };
    if (!keyRequired) return { kind: 'key', key: undefined };
    if (head.sealedKey === undefined) return { kind: 'missing' };
    try {
      return { kind: 'key', key: openKey(head.sealedKey) };
    } catch (error) {
      if (isProxyError(error, 'SEAL_KEY_MISSING')) return { kind: 'unreadable' };
      throw error;
    }
  }

  gateOf(head: EnvelopeHead): Gate {
    const name = this.#nameOf(head);
    if (name === SHARED) return this.#shared;
    let gate = this.#gates.get(name);
    if (!gate) {
      if (this.#gates.size >= KEYS_MAX) this.#forgetOne();
      gate = new Gate();
      this.#gates.set(name, gate);
    }
    return gate;
  }

  /** The whole upstream is paused. */
  get isPaused(): boolean {
    return !this.#shared.isOpen;
  }

  /** Callers' keys that are refused at present. */
  get pausedCount(): number {
    let count = 0;
    for (const gate of this.#shut) if (!gate.isOpen && gate !== this.#shared) count++;
    return count;
  }

  /** To be told of every gate that was shut: the look for due probes then costs nothing while all are open. */
  noteShut(gate: Gate): void {
    this.#shut.add(gate);
  }

  isProbeDue(nowMs: number): boolean {
    for (const gate of this.#shut) {
      if (gate.isOpen) this.#shut.delete(gate);
      else if (gate.passage(nowMs) === 'probe') return true;
    }
    return false;
  }

  #nameOf(head: EnvelopeHead): string {
    const { key, keyRequired } = this.#settings;
    return key || !keyRequired ? SHARED : head.keyFingerprint;
  }

  #forgetOne(): void {
    let oldest: string | undefined;
    for (const [name, gate] of this.#gates) {
      oldest ??= name;
      if (gate.isOpen) {
        oldest = name;
        break;
      }
    }
    const forgotten = oldest === undefined ? undefined : this.#gates.get(oldest);
    if (oldest === undefined || !forgotten) return;
    this.#gates.delete(oldest);
    this.#shut.delete(forgotten);
  }
}
