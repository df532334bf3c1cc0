/**
 * A secret that cannot be printed by accident: text, JSON and inspection all show its fingerprint. Only `reveal` gives the
 * value, so that a search for it finds every place that uses one.
 */
import { inspect } from 'node:util';
import { fingerprintOf } from '../core/sealer.ts';

export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  reveal(): string {
    return this.#value;
  }

  get fingerprint(): string {
    return fingerprintOf(this.#value);
  }

  toString(): string {
    return `[secret ${this.fingerprint}]`;
  }

  toJSON(): string {
    return this.toString();
  }

  [inspect.custom](): string {
    return this.toString();
  }
}
