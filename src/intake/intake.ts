/**
 * The intake: one HTTP server for agents, tracers and libraries. Telemetry routes lead to admission.ts; what is left is relayed.
 */
import { type AddressInfo, Server as NetServer } from 'node:net';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { Random } from '../core/random.ts';
import type { Log } from '../telemetry/log.ts';
import {
  type AdminOptions,
  addHealthRoutes,
  addOperatorRoutes,
  type HealthReport,
  type ReplicaReports,
} from './admin.ts';
import { Admission, type AdmissionLimits, type AdmissionOptions, refuseBody } from './admission.ts';
import { BodyTurns, readBody } from './body.ts';
import { callerKey } from './caller-key.ts';
import { createRelay, isForAgent, type Relay, type RelayOptions } from './relay.ts';
import { refuse } from './replies.ts';
import { type IntakeRoute, ROUTES } from './routes.ts';
import { tracerInfo } from './tracer-info.ts';
import { addValidateRoutes } from './validate.ts';

export type { HealthReport, ReplicaReports } from './admin.ts';
export type { AcceptedEnvelope } from './admission.ts';

export interface IntakeLimits extends AdmissionLimits {
  connectionMaxAgeMs: number;
}

export interface IntakeOptions extends AdmissionOptions {
  host: string;
  port: number;
  adminHost?: string;
  adminPort?: number;
  relay: Pick<RelayOptions, 'target' | 'agentUrl' | 'apiKey'>;
  health: () => HealthReport;
  status: () => Promise<unknown>;
  measure: () => Promise<void>;
  /** Where this is one of several processes. */
  replica?: ReplicaReports;
  log: Log;
  random: Random;
  version: string;
  limits: IntakeLimits;
}

export interface Intake {
  listen(): Promise<{ address: string; adminAddress: string | undefined }>;
  /** For requests and connections from now on. */
  reload(changes: { allowedKeys: readonly string[]; connectionMaxAgeMs: number }): void;
  /** Readiness falls; answers ask for the connection to be closed. Requests are still served. */
  beginDrain(): void;
  /** Stops listening, lets requests under way finish until the deadline, then cuts connections. */
  close(deadlineMs: number): Promise<void>;
}

/** Node closes idle keep-alive connections itself; longer than any balancer's, so that the balancer closes first. */
const KEEP_ALIVE_MS = 75_000;
/** From the accepted connection to its first request. */
const FRESH_MS = 300;
const EXPIRES_AT = Symbol('expires-at');

class IntakeServer implements Intake {
  readonly #options: IntakeOptions;
  readonly #server: FastifyInstance;
  readonly #admin: FastifyInstance | undefined;
  readonly #admission: Admission;
  readonly #relay: Relay;
  readonly #turns = new BodyTurns();
  #tracerHeaders: Record<string, string> = {};
  #connectionMaxAgeMs: number;
  #draining = false;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#connectionMaxAgeMs = options.limits.connectionMaxAgeMs;
    this.#admission = new Admission(options, this.#turns);
    this.#relay = createRelay({ ...options.relay, metrics: options.metrics, log: options.log });
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
    addValidateRoutes(this.#server, (key) => this.#admission.isAllowed(key));
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
    const { clock, random } = this.#options;
    const socket = request.raw.socket as typeof request.raw.socket & { [EXPIRES_AT]?: number };
    socket[EXPIRES_AT] ??= clock.monotonicMs() + this.#connectionMaxAgeMs * (0.75 + random.next() / 2);
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
      handler: (request, reply) => {
        if (route.destination === 'agent') reply.headers(this.#tracerHeadersOnce());
        return this.#admission.take(route, request.raw, reply);
      },
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
      const { url = '/', headers } = request.raw;
      // With our own key it would pass for ours, whoever sent it.
      if (!isForAgent(url) && !this.#admission.isAllowed(callerKey(url, headers))) {
        metrics.received.inc({ signal: 'relay' });
        metrics.rejected.inc({ signal: 'relay', reason: 'key' });
        metrics.requestErrors.inc({ reason: 'key' });
        request.raw.resume();
        return refuse(reply, 403, 'API key is missing or not allowed here');
      }
      const hasBody = request.method !== 'GET' && request.method !== 'HEAD';
      if (!hasBody) {
        metrics.received.inc({ signal: 'relay' });
        return this.#relay.pass(request.raw, reply, new Uint8Array(0));
      }
      const read = await readBody(request.raw, limits, budget, clock, this.#turns);
      if (!read.ok) {
        metrics.requestErrors.inc({ reason: read.kind });
        return refuseBody(reply, read.kind, limits);
      }
      metrics.received.inc({ signal: 'relay' });
      try {
        return await this.#relay.pass(request.raw, reply, read.body);
      } finally {
        budget.release(read.reservedBytes);
      }
    };
    this.#server.setNotFoundHandler(handler);
  }

  #tracerHeadersOnce(): Record<string, string> {
    if (this.#tracerHeaders['datadog-agent-state'] === undefined) this.#tracerHeaders = this.#tracerInfo().headers;
    return this.#tracerHeaders;
  }

  async listen(): Promise<{ address: string; adminAddress: string | undefined }> {
    const { host, port, adminHost, adminPort } = this.#options;
    const address = await this.#server.listen({ host, port });
    const adminAddress = await this.#admin?.listen({ host: adminHost ?? host, port: adminPort ?? 0 });
    return { address, adminAddress };
  }

  reload({ allowedKeys, connectionMaxAgeMs }: { allowedKeys: readonly string[]; connectionMaxAgeMs: number }): void {
    this.#admission.allow(allowedKeys);
    this.#connectionMaxAgeMs = connectionMaxAgeMs;
  }

  beginDrain(): void {
    this.#draining = true;
  }

  async close(deadlineMs: number): Promise<void> {
    this.#draining = true;
    const { clock } = this.#options;
    const { server } = this.#server;
    // Whoever has just connected has not sent its request yet; it will not be able to tell a reset from a death. So what waits to be
    // accepted is accepted, nothing more comes, and idle connections are closed a moment later (http.Server#close does it at once).
    await new Promise((resolve) => setImmediate(resolve));
    const ended = new Promise<void>((resolve) => {
      NetServer.prototype.close.call(server, () => resolve());
    });
    const cancel = clock.after(deadlineMs, () => server.closeAllConnections());
    const count = await new Promise<number>((resolve) => server.getConnections((_error, open) => resolve(open ?? 0)));
    if (count > 0) await clock.sleep(Math.min(FRESH_MS, deadlineMs / 2));
    server.closeIdleConnections();
    await ended;
    cancel();
    await this.#server.close();
    await this.#admin?.close();
    await this.#relay.close();
  }
}

export function createIntake(options: IntakeOptions): Intake {
  return new IntakeServer(options);
}
