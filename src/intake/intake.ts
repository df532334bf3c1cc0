/**
 * The intake: one HTTP server for agents, tracers and libraries. It reads as the life of a request: route → authenticate → cap →
 * decode elsewhere → journal → answer. Nothing is answered with success before the journal has made it durable; "not now" is
 * always 503 with Retry-After; 4xx only for what can never succeed.
 */
import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { letGo, letGoOfBatch } from '../core/buffers.ts';
import type { ByteBudget } from '../core/byte-budget.ts';
import type { Clock } from '../core/clock.ts';
import type { ColumnBatch } from '../core/columns.ts';
import type { EnvelopeHead, Position } from '../core/envelope.ts';
import type { Random } from '../core/random.ts';
import { fingerprintOf, type Sealer } from '../core/sealer.ts';
import type { Journal } from '../journal/journal.ts';
import type { DecodeElsewhere } from '../record/decode-job.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { type AdminOptions, addHealthRoutes, addOperatorRoutes, type HealthReport } from './admin.ts';
import { type BodyLimits, BodyTurns, readBody } from './body.ts';
import { callerKey, createKeyCheck, pathWithoutKeys, relayedHeaders } from './caller-key.ts';
import { createRelay, type Relay, type RelayOptions } from './relay.ts';
import { refuse, type SuccessReply, sendReply } from './replies.ts';
import { type Flight, RetryMemory } from './retry-memory.ts';
import { type IntakeRoute, ROUTES } from './routes.ts';
import { tracerInfo } from './tracer-info.ts';
import { addValidateRoutes } from './validate.ts';

export type { HealthReport } from './admin.ts';

export interface IntakeLimits extends BodyLimits {
  retryWindowMs: number;
  /** An answer slower than this may have come too late for its sender. */
  patienceMs: number;
  retryEntriesMax: number;
  connectionMaxAgeMs: number;
}

export interface AcceptedEnvelope {
  position: Position;
  head: EnvelopeHead;
  batch: ColumnBatch;
  reservedBytes: number;
}

export interface IntakeOptions {
  host: string;
  port: number;
  adminHost?: string;
  adminPort?: number;
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
  relay: Pick<RelayOptions, 'target' | 'agentUrl' | 'apiKey'>;
  health: () => HealthReport;
  status: () => Promise<unknown>;
  metrics: Metrics;
  log: Log;
  clock: Clock;
  random: Random;
  version: string;
  limits: IntakeLimits;
}

export interface Intake {
  listen(): Promise<{ address: string; adminAddress: string | undefined }>;
  /** Readiness falls; answers ask for the connection to be closed. Requests are still served. */
  beginDrain(): void;
  /** Stops listening, lets requests under way finish until the deadline, then cuts connections. */
  close(deadlineMs: number): Promise<void>;
}

/** Node closes idle keep-alive connections itself; longer than any balancer's, so that the balancer closes first. */
const KEEP_ALIVE_MS = 75_000;
const EXPIRES_AT = Symbol('expires-at');

class IntakeServer implements Intake {
  readonly #options: IntakeOptions;
  readonly #server: FastifyInstance;
  readonly #admin: FastifyInstance | undefined;
  readonly #retries: RetryMemory;
  readonly #relay: Relay;
  readonly #isAllowed: (key: string) => boolean;
  readonly #turns = new BodyTurns();
  #tracerHeaders: Record<string, string> = {};
  #draining = false;

  constructor(options: IntakeOptions) {
    this.#options = options;
    const { limits, clock } = options;
    this.#retries = new RetryMemory({ clock, windowMs: limits.retryWindowMs, entriesMax: limits.retryEntriesMax });
    this.#retries.restore(options.journal.unconfirmedAtOpen());
    this.#relay = createRelay({ ...options.relay, metrics: options.metrics, log: options.log });
    this.#isAllowed = createKeyCheck(options.allowedKeys);
    this.#server = this.#createServer();
    const admin: AdminOptions = { ...options, health: () => ({ ...options.health(), draining: this.#draining }) };
    addHealthRoutes(this.#server, admin);
    if (options.adminPort === undefined) {
      addOperatorRoutes(this.#server, admin);
    } else {
      this.#admin = fastify({ logger: false });
      addHealthRoutes(this.#admin, admin);
      addOperatorRoutes(this.#admin, admin);
    }
    addValidateRoutes(this.#server, this.#isAllowed);
    this.#addInfo();
    for (const route of ROUTES) this.#addRoute(route);
    this.#addRelay();
  }

  #createServer(): FastifyInstance {
    const { log } = this.#options;
    const server = fastify({
      logger: false,
      keepAliveTimeout: KEEP_ALIVE_MS,
      // Bodies have caps and time-outs of their own (body.ts); headers get Node's.
      requestTimeout: 0,
      bodyLimit: Number.MAX_SAFE_INTEGER,
      forceCloseConnections: false,
      return503OnClosing: false,
      routerOptions: { maxParamLength: 200 },
    });
    server.removeAllContentTypeParsers();
    // The handler reads the body itself.
    server.addContentTypeParser('*', (_request, _payload, done) => done(null));
    server.addHook('onRequest', async (request, reply) => this.#ageConnection(request, reply));
    server.addHook('onResponse', async (request, reply) => {
      const route = request.routeOptions.url ?? 'relay';
      this.#options.metrics.requests.inc({ route, status: String(reply.statusCode) });
      this.#options.metrics.requestSeconds.observe({ route }, reply.elapsedTime / 1000);
    });
    server.setErrorHandler((error, request, reply) => {
      const status = (error as { statusCode?: number }).statusCode ?? 500;
      if (status >= 500) log.error({ err: error, route: request.routeOptions.url }, 'request failed');
      this.#options.metrics.requestErrors.inc({ reason: 'internal' });
      // Not a fault of the body: the sender must keep it.
      return status >= 500 ? refuse(reply, 503, 'internal error') : refuse(reply, status, (error as Error).message);
    });
    server.server.on('connection', () => this.#options.metrics.connections.inc());
    server.server.on('connection', (socket) => socket.once('close', () => this.#options.metrics.connections.dec()));
    return server;
  }

  /** Long-lived agents spread over new replicas because connections end at an age, with jitter. */
  #ageConnection(request: FastifyRequest, reply: FastifyReply): void {
    const { clock, random, limits } = this.#options;
    const socket = request.raw.socket as typeof request.raw.socket & { [EXPIRES_AT]?: number };
    socket[EXPIRES_AT] ??= clock.monotonicMs() + limits.connectionMaxAgeMs * (0.75 + random.next() / 2);
    if (this.#draining || clock.monotonicMs() > socket[EXPIRES_AT]) reply.header('connection', 'close');
  }

  #addInfo(): void {
    this.#server.get('/info', (_request, reply) => {
      const info = this.#tracerInfo();
      return reply.headers({ ...info.headers, 'content-type': 'application/json' }).send(info.body);
    });
    // Meaningful negatives: tracers fall back to v0.4, and switch remote configuration off.
    for (const path of ['/v1.0/traces', '/v0.7/config']) {
      this.#server.all(path, (_request, reply) => refuse(reply, 404, 'not served here'));
    }
  }

  #tracerInfo() {
    const { port } = this.#server.server.address() as AddressInfo;
    return tracerInfo(this.#options.version, port, this.#options.limits.bodyBytesMax);
  }

  #addRoute(route: IntakeRoute): void {
    this.#server.route({
      method: [...route.methods],
      url: route.path,
      handler: (request, reply) => this.#take(route, request, reply),
    });
    // Probes of a path: it is there.
    this.#server.route({
      method: ['GET'],
      url: route.path,
      handler: (_request, reply) => reply.code(200).header('content-type', 'application/json').send('{}'),
    });
  }

  #addRelay(): void {
    const handler = async (request: FastifyRequest, reply: FastifyReply) => {
      const { metrics, limits, budget, clock } = this.#options;
      const hasBody = request.method !== 'GET' && request.method !== 'HEAD';
      if (!hasBody) {
        metrics.received.inc({ signal: 'relay' });
        return this.#relay.pass(request.raw, reply, new Uint8Array(0));
      }
      const read = await readBody(request.raw, limits, budget, clock, this.#turns);
      if (!read.ok) return this.#refuseBody(reply, read.kind, undefined);
      metrics.received.inc({ signal: 'relay' });
      try {
        return await this.#relay.pass(request.raw, reply, read.body);
      } finally {
        budget.release(read.reservedBytes);
      }
    };
    this.#server.setNotFoundHandler(handler);
  }

  #refuseBody(reply: FastifyReply, kind: 'too-large' | 'busy' | 'slow' | 'aborted', signal: string | undefined) {
    const { metrics, limits } = this.#options;
    if (signal) {
      metrics.received.inc({ signal });
      metrics.rejected.inc({ signal, reason: kind });
    }
    metrics.requestErrors.inc({ reason: kind });
    // What is left of the body is not read: the connection cannot be used again.
    reply.header('connection', 'close');
    switch (kind) {
      case 'too-large':
        return refuse(reply, 413, `body is larger than ${limits.bodyBytesMax} bytes`);
      case 'busy':
        return refuse(reply, 503, 'too many bytes in flight; try again');
      default:
        return refuse(reply, 408, 'the body did not arrive in time');
    }
  }

  async #take(route: IntakeRoute, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { metrics, budget, clock, limits } = this.#options;
    const { signal } = route;
    const raw = request.raw;
    const startedAtMs = clock.monotonicMs();
    if (route.destination === 'agent') this.#addTracerHeaders(reply);
    const url = raw.url ?? route.path;
    const key = callerKey(url, raw.headers);
    // Tracers carry no key; the Agent they speak to in our place has its own.
    if (route.destination === 'datadog' && !this.#isAllowed(key)) {
      metrics.received.inc({ signal });
      metrics.rejected.inc({ signal, reason: 'key' });
      metrics.requestErrors.inc({ reason: 'key' });
      raw.resume();
      return refuse(reply, 403, 'API key is missing or not allowed here');
    }
    const read = await readBody(raw, limits, budget, clock, this.#turns);
    if (!read.ok) return this.#refuseBody(reply, read.kind, signal);

    const contentType = (raw.headers['content-type'] ?? '').split(';', 1)[0]!.trim().toLowerCase();
    const head: EnvelopeHead = {
      tenant: 'default',
      signal,
      protocol: route.protocolOf(contentType),
      destination: this.#destination(route),
      method: raw.method === 'PUT' ? 'PUT' : 'POST',
      path: pathWithoutKeys(url),
      contentType: raw.headers['content-type'] ?? '',
      contentEncoding: raw.headers['content-encoding'] ?? '',
      receivedAtMs: clock.nowMs(),
      headers: relayedHeaders(raw.headers),
      keyFingerprint: fingerprintOf(key),
      bodyHash: '',
      itemCount: 0,
      rawBytes: 0,
    };
    try {
      return await this.#keep(route, head, key, read.body, raw, reply, startedAtMs);
    } finally {
      budget.release(read.reservedBytes);
    }
  }

  async #keep(
    route: IntakeRoute,
    head: EnvelopeHead,
    key: string,
    received: Uint8Array<ArrayBuffer>,
    raw: IncomingMessage,
    reply: FastifyReply,
    startedAtMs: number,
  ): Promise<FastifyReply> {
    const { decode, journal, metrics, budget, sealer, callerKeysKept } = this.#options;
    const { signal } = head;
    const receivedBytes = received.byteLength;
    const verdict = await decode({
      body: received,
      contentEncoding: head.contentEncoding,
      protocol: head.protocol,
      contentType: head.contentType,
      path: head.path,
      receivedAtMs: head.receivedAtMs,
      keyFingerprint: head.keyFingerprint,
    });
    if (!verdict.ok) {
      metrics.received.inc({ signal });
      metrics.rejected.inc({ signal, reason: verdict.kind });
      metrics.requestErrors.inc({ reason: verdict.kind });
      const status = { malformed: 400, 'too-large': 413, 'unsupported-encoding': 415, busy: 503 }[verdict.kind];
      const place = verdict.offset >= 0 ? ` (at byte ${verdict.offset} of the decompressed body)` : '';
      return refuse(reply, status, `${verdict.reason}${place}`);
    }
    if (verdict.isProbe) {
      budget.release(verdict.reservedBytes);
      return sendReply(reply, route.reply);
    }
    metrics.received.inc({ signal });
    head.bodyHash = verdict.bodyHash;
    head.itemCount = verdict.itemCount;
    head.rawBytes = verdict.rawBytes;
    if (verdict.holdsSecret) head.sealedBody = true;
    if (callerKeysKept && key !== '' && head.destination === 'datadog') head.sealedKey = sealer.sealText(key);
    const requestId = requestIdOf(raw);
    if (requestId) head.requestId = requestId;

    const claim = await this.#retries.match(head.bodyHash, requestId);
    if (claim) {
      metrics.duplicates.inc({ signal });
      letGo(verdict.body);
      letGoOfBatch(verdict.batch);
      budget.release(verdict.reservedBytes);
      const sent = this.#watchAnswer(raw, reply, startedAtMs, (confirmed) => {
        claim.settle(confirmed);
        // Else the next life would take the envelope for unconfirmed again, and excuse one more equal body.
        if (confirmed) journal.confirm(claim.position);
      });
      this.#succeed(route, head, raw, reply);
      sent();
      return reply;
    }

    const landed = Promise.withResolvers<Position | undefined>();
    const flight: Flight = { hash: head.bodyHash, socketClosed: raw.socket.destroyed, outcome: landed.promise };
    const onClose = (): void => {
      flight.socketClosed = true;
    };
    raw.socket.once('close', onClose);
    this.#retries.begin(flight);
    try {
      const appended = await journal.append({ head, body: verdict.body, bodyCrc: verdict.bodyCrc });
      if (!appended.ok) {
        metrics.rejected.inc({ signal, reason: `journal-${appended.reason}` });
        metrics.requestErrors.inc({ reason: `journal-${appended.reason}` });
        letGo(verdict.body);
        letGoOfBatch(verdict.batch);
        budget.release(verdict.reservedBytes);
        return refuse(
          reply,
          503,
          appended.reason === 'full' ? 'the journal is full; try again' : 'not taking data now',
        );
      }
      const { position } = appended;
      this.#count(head, receivedBytes, verdict.opaqueCount);
      this.#options.onAccepted({ position, head, batch: verdict.batch, reservedBytes: verdict.reservedBytes });
      if (requestId) this.#retries.rememberRequestId(requestId, head.bodyHash, position);
      const sent = this.#watchAnswer(raw, reply, startedAtMs, (confirmed) => {
        if (confirmed) journal.confirm(position);
        else this.#retries.remember(head.bodyHash, position);
      });
      // A twin that waits for this outcome must find it in memory when the answer can no longer leave.
      landed.resolve(position);
      this.#succeed(route, head, raw, reply);
      sent();
      return reply;
    } finally {
      landed.resolve(undefined);
      raw.socket.off('close', onClose);
      this.#retries.end(flight);
    }
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

  /**
   * Tells, once, whether the answer left in time and whole. What it returns is to be called when the answer was sent: mostly the
   * kernel has it by then, and each moment between that and the confirmation is one in which dying loses the difference.
   */
  #watchAnswer(
    raw: IncomingMessage,
    reply: FastifyReply,
    startedAtMs: number,
    told: (confirmed: boolean) => void,
  ): () => void {
    const { clock, limits } = this.#options;
    if (raw.socket.destroyed || raw.socket.readableEnded) {
      told(false);
      return () => {};
    }
    let settled = false;
    const settle = (confirmed: boolean): void => {
      if (settled) return;
      settled = true;
      told(confirmed);
    };
    const inTime = (): boolean => clock.monotonicMs() - startedAtMs <= limits.patienceMs;
    reply.raw.once('finish', () => settle(inTime()));
    reply.raw.once('close', () => settle(false));
    return () => {
      if (reply.raw.writableEnded && raw.socket.writableLength === 0 && !raw.socket.destroyed) settle(inTime());
    };
  }

  #succeed(route: IntakeRoute, head: EnvelopeHead, raw: IncomingMessage, reply: FastifyReply): FastifyReply {
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
    return sendReply(reply, success);
  }

  #addTracerHeaders(reply: FastifyReply): void {
    if (this.#tracerHeaders['datadog-agent-state'] === undefined) this.#tracerHeaders = this.#tracerInfo().headers;
    reply.headers(this.#tracerHeaders);
  }

  #destination(route: IntakeRoute): EnvelopeHead['destination'] {
    return this.#options.upstreams[route.destination] ? route.destination : 'none';
  }

  async listen(): Promise<{ address: string; adminAddress: string | undefined }> {
    const { host, port, adminHost, adminPort } = this.#options;
    const address = await this.#server.listen({ host, port });
    const adminAddress = await this.#admin?.listen({ host: adminHost ?? host, port: adminPort ?? 0 });
    return { address, adminAddress };
  }

  beginDrain(): void {
    this.#draining = true;
  }

  async close(deadlineMs: number): Promise<void> {
    this.#draining = true;
    const { clock } = this.#options;
    const closed = this.#server.close();
    this.#server.server.closeIdleConnections();
    const cancel = clock.after(deadlineMs, () => this.#server.server.closeAllConnections());
    await closed;
    cancel();
    await this.#admin?.close();
    await this.#relay.close();
  }
}

const RATES_VERSION = '1';

function requestIdOf(request: IncomingMessage): string | undefined {
  const { headers } = request;
  const metricsId = headers['x-metrics-request-id'];
  if (typeof metricsId === 'string' && metricsId !== '')
    return `${metricsId}/${String(headers['x-metrics-request-seq'] ?? '')}`;
  const id = headers['x-dd-request-id'];
  return typeof id === 'string' && id !== '' ? id : undefined;
}

export function createIntake(options: IntakeOptions): Intake {
  return new IntakeServer(options);
}
