/**
 * Real bodies from files: `DIR/{metrics,logs,traces}/*.ndjson`, one body a line: series v2 JSON, arrays of logs, arrays of v0.4 traces.
 * Signals take turns. Lines are sent as they are, compressed as senders of their kind do.
 */
import { createReadStream, existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { messageOf } from '../../core/errors.ts';
import { request, type TrafficRequest } from './traffic.ts';

const JSON_HEADERS = { 'content-type': 'application/json' };

/** Throws with the place of a line that is not such a body, and when there are no files. */
export async function* payloads(folder: string): AsyncGenerator<TrafficRequest> {
  const sources = (['metrics', 'logs', 'traces'] as const).flatMap((signal) => {
    const ofSignal = join(folder, signal);
    if (!existsSync(ofSignal)) return [];
    const paths = readdirSync(ofSignal)
      .filter((name) => name.endsWith('.ndjson'))
      .sort()
      .map((name) => join(ofSignal, name));
    return paths.length > 0 ? [bodies(signal, paths)] : [];
  });
  if (sources.length === 0) throw new Error(`no {metrics,logs,traces}/*.ndjson in ${folder}`);
  let open = sources;
  while (open.length > 0) {
    const left: typeof open = [];
    for (const source of open) {
      const { value, done } = await source.next();
      if (done) continue;
      yield value;
      left.push(source);
    }
    open = left;
  }
}

async function* bodies(
  signal: 'metrics' | 'logs' | 'traces',
  paths: readonly string[],
): AsyncGenerator<TrafficRequest> {
  for (const path of paths) {
    let number = 0;
    for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
      number += 1;
      if (line.trim() === '') continue;
      const bytes = Buffer.from(line);
      let items: number;
      try {
        items = itemsOf(signal, JSON.parse(line));
      } catch (error) {
        throw new Error(`${path}:${number}: no body of ${signal}: ${messageOf(error)}`, { cause: error });
      }
      if (signal === 'metrics') yield request(signal, '/api/v2/series', JSON_HEADERS, 'zstd', bytes, items);
      else if (signal === 'logs') yield request(signal, '/api/v2/logs', JSON_HEADERS, 'gzip', bytes, items);
      else yield { ...request(signal, '/v0.4/traces', JSON_HEADERS, 'identity', bytes, items), method: 'PUT' };
    }
  }
}

function itemsOf(signal: 'metrics' | 'logs' | 'traces', body: unknown): number {
  const list = signal === 'metrics' ? (body as { series?: unknown }).series : body;
  if (!Array.isArray(list)) throw new Error(signal === 'metrics' ? 'no "series" array' : 'no array');
  if (signal !== 'traces') return list.length;
  return list.reduce<number>((sum, trace) => {
    if (!Array.isArray(trace)) throw new Error('a trace is no array');
    return sum + trace.length;
  }, 0);
}
