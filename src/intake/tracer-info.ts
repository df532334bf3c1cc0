/**
 * GET /info: the feature switch of tracers. Only what is served here is listed; `client_drop_p0s` is false, so that tracers do not
 * drop traces on the strength of statistics that nobody computes. Types are exact: libdatadog rejects the whole document
 * for one wrong type. Source: datadog-intake.md §1.7.
 */
import { createHash } from 'node:crypto';

export interface TracerInfo {
  body: string;
  /** Sent on all tracer answers. */
  headers: Record<string, string>;
}

export function tracerInfo(version: string, receiverPort: number, bodyBytesMax: number): TracerInfo {
  const body = JSON.stringify({
    version,
    endpoints: ['/v0.3/traces', '/v0.4/traces', '/v0.5/traces', '/v0.7/traces', '/v0.6/stats'],
    client_drop_p0s: false,
    span_meta_structs: true,
    long_running_spans: false,
    span_events: true,
    evp_proxy_allowed_headers: [],
    config: {
      default_env: 'none',
      target_tps: 10,
      max_eps: 200,
      receiver_port: receiverPort,
      receiver_socket: '',
      connection_limit: 0,
      receiver_timeout: 0,
      max_request_bytes: bodyBytesMax,
      statsd_port: 8125,
      analyzed_spans_by_service: {},
      obfuscation: {
        elastic_search: false,
        mongo: false,
        sql_exec_plan: false,
        sql_exec_plan_normalize: false,
        http: { remove_query_string: false, remove_path_digits: false },
        remove_stack_traces: false,
        redis: { Enabled: false, RemoveAllArgs: false },
        memcached: { Enabled: false, KeepCommand: false },
      },
    },
    peer_tags: [],
    span_kinds_stats_computed: [],
    obfuscation_version: 1,
    filter_tags: {},
    filter_tags_regex: {},
  });
  return {
    body,
    headers: {
      'datadog-agent-version': version,
      'datadog-agent-state': createHash('sha256').update(body).digest('hex'),
    },
  };
}
