/**
 * The life of one request with telemetry: authenticate → cap → decode elsewhere → journal → answer. Nothing is answered with success
 * before the journal has made it durable; "not now" is always 503 with Retry-After; 4xx only for what can never succeed.
 */
import type { IncomingMessage } from 'node:http';
import type { FastifyReply } from 'fastify';
import { letGo } from '../core/buffers.ts';
import type { ByteBudget } from '../core/byte-budget.ts';
import type { Clock } from '../core/clock.ts';
import type { EnvelopeHead, Position } from '../core/envelope.ts';
import { fingerprintOf, type Sealer } from '../core/sealer.ts';
import { letGoOfBatch, type TravellingBatch } from '../core/travelling-batch.ts';
import type { Journal } from '../journal/journal.ts';
import type { DecodedBody, DecodeElsewhere } from '../record/decode-job.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { hasHungUp, lookForHangUps, watchAnswer } from './answers.ts';
import { type BodyLimits, type BodyTurns, readBody } from './body.ts';
import { callerKey, createKeyCheck, pathWithoutKeys, relayedHeaders } from './caller-key.ts';
import { refuse, type SuccessReply, sendReply } from './replies.ts';
import { type Flight, RetryMemory } from './retry-memory.ts';
import type { IntakeRoute } from './routes.ts';

export interface AdmissionLimits extends BodyLimits {
  retryWindowMs: number;
  /** An answer slower than this may have come too late for its sender. */
  patienceMs: number;
  retryEntriesMax: number;
}

export interface AcceptedEnvelope {
  position: Position;
  head: EnvelopeHead;
  batch: TravellingBatch;
  reservedBytes: number;
}

export interface AdmissionOptions {
  journal: Pick<Journal, 'append' | 'confirm' | 'unconfirmedAtOpen' | 'usage'>;
  decode: DecodeElsewhere;
  budget: ByteBudget;
  /** Takes over the batch and what it has reserved. */
  onAccepted: (envelope: AcceptedEnvelope) => void;
  sealer: Sealer;
  /** Callers' own keys are passed on, so that they rest sealed in the journal. */
  callerKeysKept: boolean;
  allowedKeys: readonly string[];
  upstreams: { datadog: boolean; agent: boolean };
  metrics: Metrics;
  clock: Clock;
  limits: AdmissionLimits;
}

/** One request on its way. */
interface Visit {
  route: IntakeRoute;
  raw: IncomingMessage;
  reply: FastifyReply;
  url: string;
  key: string;
  startedAtMs: number;
  flight: Flight;
}

const RATES_VERSION = '1';

export class Admission {
  readonly #options: AdmissionOptions;
  readonly #turns: BodyTurns;
  readonly #retries: RetryMemory;
  #isAllowed: (key: string) => boolean;
  /** Of the request before: mostly all have the same key. */
  #lastKey = { key: '', fingerprint: fingerprintOf('') };

  constructor(options: AdmissionOptions, turns: BodyTurns) {
    this.#options = options;
    this.#turns = turns;
    const { limits, clock, journal, allowedKeys } = options;
    this.#retries = new RetryMemory({ clock, windowMs: limits.retryWindowMs, entriesMax: limits.retryEntriesMax });
    this.#retries.restore(journal.unconfirmedAtOpen());
    this.#isAllowed = createKeyCheck(allowedKeys);
  }

  /** From now on these keys only; an empty list allows any. */
  allow(keys: readonly string[]): void {
    this.#isAllowed = createKeyCheck(keys);
  }

  isAllowed(key: string): boolean {
    return this.#isAllowed(key);
  }

  async take(route: IntakeRoute, raw: IncomingMessage, reply: FastifyReply): Promise<FastifyReply> {
    const { metrics, clock } = this.#options;
    const startedAtMs = clock.monotonicMs();
    const url = raw.url ?? route.path;
    const key = callerKey(url, raw.headers);
    // Tracers carry no key; the Agent they speak to in our place has its own.
    if (route.destination === 'datadog' && !this.#isAllowed(key)) {
      metrics.received.inc({ signal: route.signal });
      this.#reject(route, 'key');
      raw.resume();
      return refuse(reply, 403, 'API key is missing or not allowed here');
    }
    const flight = this.#retries.begin(`${url} ${raw.headers['content-length']}`, () => hasHungUp(raw));
    try {
      return await this.#takeBody({ route, raw, reply, url, key, startedAtMs, flight });
    } finally {
      this.#retries.end(flight);
    }
  }

  async #takeBody(visit: Visit): Promise<FastifyReply> {
    const { budget, clock, limits, metrics } = this.#options;
    const { route, raw, reply } = visit;
    const read = await readBody(raw, limits, budget, clock, this.#turns);
    if (!read.ok) {
      metrics.received.inc({ signal: route.signal });
      this.#reject(route, read.kind);
      return refuseBody(reply, read.kind, limits);
    }
    try {
      return await this.#decode(visit, read.body);
    } finally {
      budget.release(read.reservedBytes);
    }
  }

  async #decode(visit: Visit, received: Uint8Array<ArrayBuffer>): Promise<FastifyReply> {
    const { decode, metrics, budget } = this.#options;
    const { route, reply } = visit;
    const receivedBytes = received.byteLength;
    const head = this.#headOf(visit);
    const verdict = await decode({
      body: received,
      contentEncoding: head.contentEncoding,
      protocol: head.protocol,
      contentType: head.contentType,
      path: head.path,
      receivedAtMs: head.receivedAtMs,
      keyFingerprint: head.keyFingerprint,
    });
    if (verdict.ok && verdict.isProbe) {
      budget.release(verdict.reservedBytes);
      return sendReply(reply, route.reply);
    }
    metrics.received.inc({ signal: route.signal });
    if (!verdict.ok) {
      this.#reject(route, verdict.kind);
      const status = { malformed: 400, 'too-large': 413, 'unsupported-encoding': 415, busy: 503 }[verdict.kind];
      const place = verdict.offset >= 0 ? ` (at byte ${verdict.offset} of the decompressed body)` : '';
      return refuse(reply, status, `${verdict.reason}${place}`);
    }
    this.#complete(head, visit, verdict);
    return this.#keep(visit, head, verdict, receivedBytes);
  }

  #headOf({ route, raw, url, key }: Visit): EnvelopeHead {
    const contentType = raw.headers['content-type'] ?? '';
    return {
      tenant: 'default',
      signal: route.signal,
      protocol: route.protocolOf(contentType.split(';', 1)[0]!.trim().toLowerCase()),
      destination: this.#options.upstreams[route.destination] ? route.destination : 'none',
      method: raw.method === 'PUT' ? 'PUT' : 'POST',
      path: pathWithoutKeys(url),
      contentType,
      contentEncoding: raw.headers['content-encoding'] ?? '',
      receivedAtMs: this.#options.clock.nowMs(),
      headers: relayedHeaders(raw.headers),
      keyFingerprint: this.#fingerprintOf(key),
      bodyHash: '',
      itemCount: 0,
      rawBytes: 0,
    };
  }

  #fingerprintOf(key: string): string {
    if (this.#lastKey.key !== key) this.#lastKey = { key, fingerprint: fingerprintOf(key) };
    return this.#lastKey.fingerprint;
  }

  /** With what only the decoded body tells. */
  #complete(head: EnvelopeHead, { raw, key }: Visit, decoded: DecodedBody): void {
    const { sealer, callerKeysKept } = this.#options;
    head.bodyHash = decoded.bodyHash;
    head.itemCount = decoded.itemCount;
    head.rawBytes = decoded.rawBytes;
    if (decoded.holdsSecret) head.sealedBody = true;
    if (callerKeysKept && key !== '' && head.destination === 'datadog') head.sealedKey = sealer.sealText(key);
    const requestId = requestIdOf(raw);
    if (requestId) head.requestId = requestId;
  }

  async #keep(visit: Visit, head: EnvelopeHead, decoded: DecodedBody, receivedBytes: number): Promise<FastifyReply> {
    const { journal, metrics, budget } = this.#options;
    const retries = this.#retries;
    const { bodyHash, requestId, signal } = head;
    const discard = (): void => {
      letGo(decoded.body);
      letGoOfBatch(decoded.batch);
      budget.release(decoded.reservedBytes);
    };
    const claim = await retries.match(visit.flight, bodyHash, requestId);
    if (claim) {
      metrics.duplicates.inc({ signal });
      discard();
      return this.#answer(visit, head, (isHeard) => {
        claim.settle(isHeard);
        // Else the next life would take the envelope for unconfirmed again, and excuse one more equal body.
        if (isHeard) journal.confirm(claim.position, claim.epoch);
      });
    }
    const appended = await journal.append({ head, body: decoded.body, bodyCrc: decoded.bodyCrc });
    if (!appended.ok) {
      this.#reject(visit.route, `journal-${appended.reason}`);
      discard();
      const reason = appended.reason === 'full' ? 'the journal is full; try again' : 'not taking data now';
      return refuse(visit.reply, 503, reason);
    }
    const { position } = appended;
    this.#count(head, receivedBytes, decoded.opaqueCount);
    this.#options.onAccepted({ position, head, batch: decoded.batch, reservedBytes: decoded.reservedBytes });
    if (requestId) retries.rememberRequestId(requestId, bodyHash, { position });
    return this.#answer(visit, head, (isHeard) => {
      if (isHeard) journal.confirm(position);
      else retries.remember(bodyHash, { position });
    });
  }

  /** Success, and what became of it. */
  async #answer(visit: Visit, head: EnvelopeHead, told: (isHeard: boolean) => void): Promise<FastifyReply> {
    const { clock, limits } = this.#options;
    const { raw, reply, route, startedAtMs } = visit;
    await lookForHangUps(clock);
    const sent = watchAnswer(raw, reply, { clock, startedAtMs, patienceMs: limits.patienceMs }, told);
    let success: SuccessReply = route.reply;
    if (route.path.startsWith('/v0.') && raw.headers['datadog-rates-payload-version'] !== undefined) {
      // The tracer has our (only) version of the rates already.
      const version = raw.headers['datadog-rates-payload-version'];
      reply.header('datadog-rates-payload-version', RATES_VERSION);
      if (version === RATES_VERSION) success = { ...success, body: '{}' };
    }
    if (head.protocol === 'events-v1-json') {
      success = { ...success, body: JSON.stringify({ status: 'ok', event: { id_str: head.bodyHash.slice(0, 16) } }) };
    }
    sendReply(reply, success);
    sent();
    return reply;
  }

  #reject({ signal }: IntakeRoute, reason: string): void {
    const { metrics } = this.#options;
    metrics.rejected.inc({ signal, reason });
    metrics.requestErrors.inc({ reason });
  }

  #count(head: EnvelopeHead, receivedBytes: number, opaqueCount: number): void {
    const { metrics } = this.#options;
    const { signal } = head;
    metrics.accepted.inc({ signal });
    metrics.items.inc({ signal }, head.itemCount);
    if (opaqueCount > 0) metrics.opaqueItems.inc({ signal }, opaqueCount);
    metrics.bodyBytes.inc({ signal, form: 'received' }, receivedBytes);
    metrics.bodyBytes.inc({ signal, form: 'raw' }, head.rawBytes);
    if (head.destination !== 'none') metrics.forwardAddressed.inc({ upstream: head.destination });
  }
}

/** What became of a body that could not be read. */
export function refuseBody(
  reply: FastifyReply,
  kind: 'too-large' | 'busy' | 'slow' | 'aborted',
  { bodyBytesMax }: BodyLimits,
): FastifyReply {
  // What is left of the body is not read: the connection cannot be used again.
  reply.header('connection', 'close');
  switch (kind) {
    case 'too-large':
      return refuse(reply, 413, `body is larger than ${bodyBytesMax} bytes`);
    case 'busy':
      return refuse(reply, 503, 'too many bytes in flight; try again');
    default:
      return refuse(reply, 408, 'the body did not arrive in time');
  }
}

function requestIdOf({ headers }: IncomingMessage): string | undefined {
  const metricsId = headers['x-metrics-request-id'];
  if (typeof metricsId === 'string' && metricsId !== '')
    return `${metricsId}/${String(headers['x-metrics-request-seq'] ?? '')}`;
  const id = headers['x-dd-request-id'];
  return typeof id === 'string' && id !== '' ? id : undefined;
}
