/**
 * One case in a process of its own, so that cases do not share a heap, compiled code or a peak of memory. Told by one JSON argument,
 * answers with one JSON line.
 */
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Signal } from '../src/core/envelope.ts';
import { spawnScript } from './script.ts';
import { measureSize, type SizeOptions, type SizeResult } from './size.ts';
import type { Source } from './sources.ts';
import { measureStages, type StageOptions, type StageResult } from './stages.ts';

type Order =
  | { kind: 'stages'; signal: Signal; options: StageOptions }
  | { kind: 'size'; source: Source; options: SizeOptions };

/** JSON has no Infinity. */
const NO_CAP_BYTES = Number.MAX_SAFE_INTEGER;

export function stagesElsewhere(signal: Signal, options: StageOptions): Promise<StageResult[]> {
  return run({ kind: 'stages', signal, options });
}

export function sizeElsewhere(source: Source, options: SizeOptions): Promise<SizeResult> {
  return run({ kind: 'size', source, options: { ...options, capBytes: Math.min(options.capBytes, NO_CAP_BYTES) } });
}

async function run<T>(order: Order): Promise<T> {
  const child = spawnScript(fileURLToPath(import.meta.url), JSON.stringify(order));
  const parts: Buffer[] = [];
  child.stdout!.on('data', (chunk: Buffer) => parts.push(chunk));
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`the process of this case ended with ${code}`);
  return JSON.parse(Buffer.concat(parts).toString('utf8')) as T;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const order = JSON.parse(process.argv[2] ?? '') as Order;
  const result =
    order.kind === 'stages'
      ? await measureStages(order.signal, order.options)
      : await measureSize(order.source, order.options);
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
