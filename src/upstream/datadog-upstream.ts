/**
 * Datadog as an upstream: the route decides the product host, and the key always travels in the DD-API-KEY header, which every
 * journalled route takes (intake removed keys from path and query). Source: datadog-intake.md §1 and §4.
 */
import { type DatadogTarget, datadogOrigin } from './datadog-hosts.ts';
import { createHttpUpstream, type HttpUpstreamOptions } from './http-upstream.ts';
import type { Upstream } from './upstream.ts';

export interface DatadogUpstreamOptions extends HttpUpstreamOptions {
  target: DatadogTarget;
}

/** Its name is `datadog`; its lanes are the product hosts. */
export function createDatadogUpstream(options: DatadogUpstreamOptions): Upstream {
  const { target, ...http } = options;
  return createHttpUpstream({
    ...http,
    name: 'datadog',
    baseOf: (head) => datadogOrigin(head.path, head.headers, target),
    keyHeader: 'dd-api-key',
  });
}
