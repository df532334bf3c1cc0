/**
 * The data of the size table, as JSON request bodies: the corpus through its converters, a folder of one's own, or the product's
 * seeded generator. A source is read only as far as the cap says.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createReadStream, existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { traffic } from '../src/cli/demo/traffic.ts';
import { type CorpusSource, findCorpus, lines, listSources } from '../test/support/corpus/sources.ts';
import { generatedJson } from './generated.ts';
import { type RawBody, RECEIVED_AT_MS } from './pipeline.ts';

export type SourceSignal = 'metrics' | 'logs' | 'traces';

/** Plain data: it is handed to a process of its own. */
export type Source =
  | { kind: 'corpus'; name: string; signal: SourceSignal; root: string; folder: string }
  | { kind: 'file'; name: string; signal: SourceSignal; path: string }
  | { kind: 'generator'; name: string; signal: SourceSignal; seed: number };

const SIGNALS: readonly SourceSignal[] = ['metrics', 'logs', 'traces'];
const TOOLS = { logs: 'logs2dd.mjs', metrics: 'metrics2dd.mjs', traces: 'traces2dd.mjs' } as const;
const ENDING = /\.ndjson(\.gz|\.zst)?$/;

/** Requests made of the generator at most: a tenth of them are of one kind at least. */
const GENERATED_REQUESTS_MAX = 200_000;

export const NO_CORPUS = 'no folder with corpus/ and tools/ in $REDUCTRAI_CORPUS or beside the project';

export function corpusSources(): Source[] | undefined {
  const root = findCorpus();
  if (root === undefined) return undefined;
  return listSources(root).map(({ name, kind, folder }: CorpusSource) => ({
    kind: 'corpus',
    // Snapshots lie under datadog/, whatever they are.
    name: name.startsWith(`${kind}/`) ? name : `${kind}/${name.replaceAll('/', '-')}`,
    signal: kind,
    root,
    folder,
  }));
}

export function generatorSources(seed: number): Source[] {
  return SIGNALS.map((signal) => ({ kind: 'generator', name: `${signal}/generator-seed-${seed}`, signal, seed }));
}

/** Throws when the folder holds no such files. */
export function payloadSources(folder: string): Source[] {
  const sources = SIGNALS.flatMap((signal): Source[] => {
    const ofSignal = join(folder, signal);
    if (!existsSync(ofSignal)) return [];
    return readdirSync(ofSignal)
      .filter((name) => ENDING.test(name))
      .sort()
      .map((name) => ({
        kind: 'file',
        name: basename(name).replace(ENDING, ''),
        signal,
        path: join(ofSignal, name),
      }));
  });
  if (sources.length === 0) throw new Error(`no {metrics,logs,traces}/NAME.ndjson[.gz|.zst] in ${folder}`);
  return sources;
}

/** Bodies of a source up to `capBytes`, at least one; `isCapped`: there is more. */
export async function loadSource(source: Source, capBytes: number): Promise<{ bodies: Buffer[]; isCapped: boolean }> {
  const bodies: Buffer[] = [];
  let bytes = 0;
  for await (const line of openSource(source)) {
    if (line.toString('latin1', 0, 64).trim() === '') continue;
    if (bytes > 0 && bytes + line.byteLength > capBytes) return { bodies, isCapped: true };
    // A copy: a line may be a view of the chunk it was read in.
    bodies.push(Buffer.from(line));
    bytes += line.byteLength;
  }
  if (bodies.length === 0) throw new Error(`${source.name} holds no bodies`);
  return { bodies, isCapped: false };
}

function openSource(source: Source): AsyncGenerator<Buffer> {
  if (source.kind === 'corpus') return convert(source.root, source.signal, source.folder);
  if (source.kind === 'generator') return generate(source.signal, source.seed);
  return lines(openFile(source.path));
}

function openFile(path: string): AsyncIterable<Buffer> {
  const file = createReadStream(path);
  const inflate = path.endsWith('.gz') ? createGunzip() : path.endsWith('.zst') ? createZstdDecompress() : undefined;
  if (!inflate) return file as AsyncIterable<Buffer>;
  file.on('error', (error) => inflate.destroy(error));
  return file.pipe(inflate);
}

async function* convert(root: string, signal: SourceSignal, folder: string): AsyncGenerator<Buffer> {
  const child: ChildProcess = spawn(process.execPath, [join(root, 'tools', TOOLS[signal]), '--out', '-', folder], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const errors: Buffer[] = [];
  child.stderr!.on('data', (chunk: Buffer) => errors.push(chunk));
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  try {
    yield* lines(child.stdout!);
    const code = await ended;
    if (code !== 0)
      throw new Error(`converter ended with ${code}: ${Buffer.concat(errors).toString('utf8').slice(-500)}`);
  } finally {
    // The cap may be reached long before the converter is done.
    child.kill('SIGKILL');
  }
}

async function* generate(signal: SourceSignal, seed: number): AsyncGenerator<Buffer> {
  for (const request of traffic(seed, { startMs: RECEIVED_AT_MS, requests: GENERATED_REQUESTS_MAX })) {
    if (request.signal !== signal) continue;
    const body = generatedJson(request);
    if (body) yield body;
  }
}

const PATHS = { metrics: '/api/v2/series', logs: '/api/v2/logs', traces: '/v0.4/traces' } as const;
const PROTOCOLS = { metrics: 'series-v2-json', logs: 'logs-json', traces: 'traces-v04-json' } as const;

/** A JSON body as the product receives it. */
export function jsonBody(signal: SourceSignal, bytes: Uint8Array): RawBody {
  return { signal, protocol: PROTOCOLS[signal], contentType: 'application/json', path: PATHS[signal], bytes };
}
