/** The demo's traffic: the same seed gives the same bytes, and every body is one the decoders understand wholly. */
import { expect, test } from 'vitest';
import { type TrafficRequest, traffic } from '../../src/cli/demo/traffic.ts';
import { ByteBudget } from '../../src/core/byte-budget.ts';
import { SIGNALS } from '../../src/core/envelope.ts';
import { MIB } from '../../src/core/limits.ts';
import { ROUTES } from '../../src/intake/routes.ts';
import { decodeEnvelope } from '../../src/record/decode-envelope.ts';
import { decompress } from '../../src/wire/decompression.ts';

const OPTIONS = { startMs: Date.UTC(2026, 0, 1), requests: 150 };

function decoded({ path, headers, body, method }: TrafficRequest) {
  const route = ROUTES.find((candidate) => candidate.path === path && candidate.methods.includes(method));
  if (!route) throw new Error(`no route: ${method} ${path}`);
  const undone = decompress(body, headers['content-encoding'] ?? '', 64 * MIB, ByteBudget.create(256 * MIB));
  if (!undone.ok) throw new Error(undone.reason);
  const contentType = headers['content-type']!;
  const protocol = route.protocolOf(contentType);
  const input = { protocol, body: undone.bytes, contentType, path, receivedAtMs: OPTIONS.startMs };
  return { signal: route.signal, protocol, rawBytes: undone.bytes.byteLength, result: decodeEnvelope(input) };
}

test('the same seed gives the same bytes, another seed others', () => {
  const textOf = (seed: number) =>
    [...traffic(seed, OPTIONS)].map(({ body, ...rest }) => ({ ...rest, body: body.toString('base64') }));
  const first = textOf(7);
  expect(first).toHaveLength(OPTIONS.requests);
  expect(textOf(7)).toEqual(first);
  expect(textOf(8)).not.toEqual(first);
});

test('every body decodes with the stated count of items and nothing opaque', () => {
  const protocols = new Set<string>();
  const signals = new Set<string>();
  for (const request of traffic(1, OPTIONS)) {
    const { signal, protocol, rawBytes, result } = decoded(request);
    const { items } = request;
    expect({ protocol, signal, rawBytes }).toEqual({ protocol, signal: request.signal, rawBytes: request.rawBytes });
    expect(result).toMatchObject({ ok: true, itemCount: items, opaqueCount: 0, holdsSecret: false });
    protocols.add(protocol);
    signals.add(signal);
  }
  expect([...signals].sort()).toEqual([...SIGNALS].sort());
  expect(protocols.size).toBe(9);
});
