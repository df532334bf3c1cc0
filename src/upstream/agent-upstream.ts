/**
 * A real Agent's tracer port (`http://agent:8126`) as an upstream. It holds the key itself: none is sent, whatever is handed in.
 */
import { createHttpUpstream, type HttpUpstreamOptions } from './http-upstream.ts';
import type { Upstream } from './upstream.ts';

export interface AgentUpstreamOptions extends HttpUpstreamOptions {
  /** May have a path prefix. */
  url: string;
}

/** Its name is `agent`. */
export function createAgentUpstream(options: AgentUpstreamOptions): Upstream {
  const { url, ...http } = options;
  const base = url.replace(/\/+$/, '');
  const upstream = createHttpUpstream({ ...http, name: 'agent', baseOf: () => base, keyHeader: 'dd-api-key' });
  return { ...upstream, send: (envelope, _apiKey, signal) => upstream.send(envelope, undefined, signal) };
}
