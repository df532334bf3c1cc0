/**
 * Paths that are not ours to keep: passed on as they are to the Datadog host they belong to, or swallowed with 202 where there is
 * no upstream, because agents retry a 404 for ever. Never archived; always counted.
 */
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { FastifyReply } from 'fastify';
import { Agent, type Dispatcher } from 'undici';
import { messageOf } from '../core/errors.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { type DatadogTarget, datadogOrigin } from '../upstream/datadog-hosts.ts';
import { REPLIES, refuse, sendReply } from './replies.ts';

export interface RelayOptions {
  target: DatadogTarget | undefined;
  agentUrl: string | undefined;
  /** Our own key; replaces the caller's. */
  apiKey: string | undefined;
  metrics: Metrics;
  log: Log;
}

export interface Relay {
  pass(request: IncomingMessage, reply: FastifyReply, body: Uint8Array): Promise<FastifyReply>;
  close(): Promise<void>;
}

/** What tracers send through their Agent besides traces. */
const AGENT_PREFIXES = [
  '/telemetry/proxy/',
  '/evp_proxy/',
  '/profiling/',
  '/debugger/',
  '/symdb/',
  '/dogstatsd/',
  '/tracer_flare/',
  '/openlineage/',
  '/v0.1/pipeline_stats',
];

/** Meant for an Agent: such requests carry no key. */
export function isForAgent(url: string): boolean {
  return AGENT_PREFIXES.some((prefix) => url.startsWith(prefix));
}

const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'host',
  'content-length',
  'expect',
]);

const TIMEOUT_MS = 20_000;

export function createRelay(options: RelayOptions): Relay {
  const agent = new Agent({ connections: 16, headersTimeout: TIMEOUT_MS, bodyTimeout: TIMEOUT_MS, pipelining: 1 });
  const { metrics, log } = options;
  return {
    pass: async (request, reply, body) => {
      const url = request.url ?? '/';
      const isAgents = isForAgent(url);
      const origin = isAgents
        ? options.agentUrl?.replace(/\/+$/, '')
        : options.target && datadogOrigin(url, request.headers, options.target);
      if (!origin) {
        metrics.relayed.inc({ outcome: 'swallowed' });
        return sendReply(reply, REPLIES.emptyObject202);
      }
      let answer: Dispatcher.ResponseData;
      try {
        answer = await agent.request({
          origin: new URL(origin).origin,
          path: new URL(origin).pathname.replace(/\/$/, '') + withOwnKey(url, options.apiKey),
          method: request.method as Dispatcher.HttpMethod,
          headers: passedHeaders(request, isAgents ? undefined : options.apiKey),
          body: body.byteLength > 0 ? body : null,
        });
      } catch (error) {
        metrics.relayed.inc({ outcome: 'unreachable' });
        log.warn({ origin, reason: messageOf(error) }, 'relay failed');
        return refuse(reply, 503, 'the upstream cannot be reached');
      }
      metrics.relayed.inc({ outcome: answer.statusCode < 400 ? 'delivered' : 'refused' });
      reply.code(answer.statusCode);
      for (const [name, value] of Object.entries(answer.headers)) {
        if (value !== undefined && !HOP_BY_HOP.has(name)) reply.header(name, value);
      }
      return reply.send(Readable.from(answer.body));
    },
    close: () => agent.destroy(),
  };
}

function passedHeaders(request: IncomingMessage, apiKey: string | undefined): Record<string, string | string[]> {
  const passed: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries(request.headers)) {
    if (value !== undefined && !HOP_BY_HOP.has(name)) passed[name] = value;
  }
  if (apiKey) passed['dd-api-key'] = apiKey;
  return passed;
}

/** A key in the query is the caller's too. */
function withOwnKey(url: string, apiKey: string | undefined): string {
  if (!apiKey) return url;
  return url.replace(
    /([?&])(api_key|dd-api-key)=[^&]*/g,
    (_, mark, name) => `${mark}${name}=${encodeURIComponent(apiKey)}`,
  );
}
