/**
 * The Upstream seam: one configured destination. `send` makes one attempt and returns what came of it as a value; it never
 * throws for anything the network or the vendor does. Waiting, giving up, pausing and parking are policy (forward/), not transport.
 */
import type { Envelope, EnvelopeHead } from '../core/envelope.ts';

export type SendOutcome =
  | { kind: 'delivered'; status: number }
  /** Not now. `afterMs` is what the vendor asked for (Retry-After, x-ratelimit-reset). */
  | { kind: 'retry'; status: number | undefined; reason: string; afterMs: number | undefined }
  /** Never, for this body: the status is one Datadog's own clients treat as final. */
  | { kind: 'refused'; status: number; reason: string }
  /** 401 or 403: the key is at fault, not the body. */
  | { kind: 'unauthorized'; status: number; reason: string };

export interface Upstream {
  readonly name: string;
  /** `apiKey` undefined: send without one (a real Agent needs none). */
  send(envelope: Envelope, apiKey: string | undefined, signal: AbortSignal): Promise<SendOutcome>;
  /** What fails together: envelopes of one lane go to one host. Absent: all of them do. Few values. */
  laneOf?(head: EnvelopeHead): string;
  close(): Promise<void>;
}
