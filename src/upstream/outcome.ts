/**
 * What an answer means for the envelope. Final are only the statuses that Datadog's own clients treat as final for that signal
 * (datadog-intake.md §3.1); 404 is the exception: the trace writer drops on it, metrics and logs retry it for ever, and we retry
 * it for every signal, because a wrong host or a missing route is mended by people, not by throwing data away.
 *
 * | status | metrics, logs, events | traces |
 * |---|---|---|
 * | 2xx | delivered | delivered |
 * | 400, 413 | refused | refused |
 * | 401, 403 | unauthorized | unauthorized |
 * | 404, 408, 425, 429 | retry | retry |
 * | other 4xx | retry | refused |
 * | 1xx, 3xx (never followed), 5xx | retry | retry |
 */
import type { Signal } from '../core/envelope.ts';
import type { SendOutcome } from './upstream.ts';

/** What a vendor may ask us to wait at most; more is taken for a mistake. */
export const WAIT_ASKED_MS_MAX = 15 * 60 * 1000;

const RETRIED_FOR_TRACES = new Set([404, 408, 425, 429]);

export interface AnswerHeaders {
  'retry-after'?: string | string[] | undefined;
  'x-ratelimit-reset'?: string | string[] | undefined;
}

/** `detail`: the head of the answer's body, for the reason; without secrets. */
export function outcomeOf(
  signal: Signal,
  status: number,
  headers: AnswerHeaders,
  detail: string,
  nowMs: number,
): SendOutcome {
  if (status >= 200 && status < 300) return { kind: 'delivered', status };
  const reason = detail === '' ? `status ${status}` : `status ${status}: ${detail}`;
  if (status === 401 || status === 403) return { kind: 'unauthorized', status, reason };
  const isFinal =
    status === 400 ||
    status === 413 ||
    (signal === 'traces' && status >= 400 && status < 500 && !RETRIED_FOR_TRACES.has(status));
  if (isFinal) return { kind: 'refused', status, reason };
  return { kind: 'retry', status, reason, afterMs: waitAskedMs(headers, nowMs) };
}

/** Retry-After (seconds or an HTTP date, RFC 9110 §10.2.3), else x-ratelimit-reset (seconds); undefined when neither can be read. */
export function waitAskedMs(headers: AnswerHeaders, nowMs: number): number | undefined {
  const retryAfter = first(headers['retry-after']);
  const ms = secondsMs(retryAfter) ?? dateMs(retryAfter, nowMs) ?? secondsMs(first(headers['x-ratelimit-reset']));
  return ms === undefined ? undefined : Math.min(WAIT_ASKED_MS_MAX, ms);
}

function first(value: string | string[] | undefined): string | undefined {
  return (Array.isArray(value) ? value[0] : value)?.trim();
}

function secondsMs(value: string | undefined): number | undefined {
  return value !== undefined && /^\d{1,12}(\.\d{1,9})?$/.test(value) ? Math.ceil(Number(value) * 1000) : undefined;
}

function dateMs(value: string | undefined, nowMs: number): number | undefined {
  // Only the three HTTP forms, all of which begin with a day's name: Date.parse takes much more.
  if (value === undefined || !/^[A-Za-z]{3,9},? /.test(value)) return undefined;
  const atMs = Date.parse(value);
  return Number.isNaN(atMs) ? undefined : Math.max(0, atMs - nowMs);
}
