/**
 * What is answered. Success bodies are the ones Datadog's clients expect (datadog-intake.md §1.2 to §1.8); refusals are JSON that
 * names the reason. 503 with Retry-After is the one "not now" that every sender retries.
 */
import type { FastifyReply } from 'fastify';

export interface SuccessReply {
  status: number;
  contentType: string;
  body: string;
}

const JSON_TYPE = 'application/json';

export const REPLIES = {
  errorsEmpty: { status: 202, contentType: JSON_TYPE, body: '{"errors":[]}' },
  statusOk: { status: 202, contentType: JSON_TYPE, body: '{"status":"ok"}' },
  // The form of Datadog's answer without the ids, which only Datadog can give.
  eventTaken: {
    status: 202,
    contentType: JSON_TYPE,
    body: '{"data":{"type":"event","attributes":{"attributes":{"evt":{}}}}}',
  },
  emptyObject202: { status: 202, contentType: JSON_TYPE, body: '{}' },
  emptyObject200: { status: 200, contentType: JSON_TYPE, body: '{}' },
  textOk: { status: 200, contentType: 'text/plain; charset=utf-8', body: 'OK' },
  ratesOne: { status: 200, contentType: JSON_TYPE, body: '{"rate_by_service":{"service:,env:":1}}' },
  empty200: { status: 200, contentType: 'text/plain; charset=utf-8', body: '' },
} as const satisfies Record<string, SuccessReply>;

export const RETRY_AFTER_SECONDS = 1;

export function sendReply(reply: FastifyReply, success: SuccessReply): FastifyReply {
  return reply.code(success.status).header('content-type', success.contentType).send(success.body);
}

/** `{"errors":["…"]}`; 503 carries Retry-After. */
export function refuse(reply: FastifyReply, status: number, reason: string): FastifyReply {
  if (status === 503) reply.header('retry-after', String(RETRY_AFTER_SECONDS));
  return reply
    .code(status)
    .header('content-type', JSON_TYPE)
    .send(JSON.stringify({ errors: [reason] }));
}
