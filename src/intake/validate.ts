/**
 * Key validation, answered here: what matters to an agent is whether this proxy takes its key. Source: datadog-intake.md §1.2
 * (bodies of v1; v2 wants a non-empty `data.id`). Of v2, the public API client also demands `api_key_scopes` and `valid`.
 */
import { createHash } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import { callerKey } from './caller-key.ts';
import { refuse } from './replies.ts';

export function addValidateRoutes(server: FastifyInstance, isAllowed: (key: string) => boolean): void {
  server.get('/api/v1/validate', (request, reply) => {
    const key = callerKey(request.raw.url ?? '', request.raw.headers);
    if (key === '') return refuse(reply, 403, 'API key required');
    if (!isAllowed(key)) return refuse(reply, 403, 'Forbidden');
    return reply.send({ valid: true });
  });
  server.get('/api/v2/validate', (request, reply) => {
    const key = callerKey(request.raw.url ?? '', request.raw.headers);
    if (key === '' || !isAllowed(key)) return refuse(reply, 403, 'Forbidden');
    return reply.send({
      data: {
        id: uuidOf(key),
        type: 'validate_v2',
        attributes: { api_key_id: uuidOf(`id ${key}`), api_key_scopes: [], valid: true },
      },
    });
  });
  server.get('/_health', (_request, reply) => reply.send('{}'));
}

/** A UUID that stays the same for a key and tells nothing of it. */
function uuidOf(key: string): string {
  const hex = createHash('sha256').update(`org ${key}`).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
