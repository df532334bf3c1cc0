/**
 * The corpus as request bodies: every source (a folder of it) through the converters that stand beside it, all of it or a seeded
 * sample. The sample is spread over the whole source: one body of every stratum of neighbours, chosen by a hash, and where those
 * chosen so far are too small, the stratum's largest as well; so it holds at least the share of bodies and of bytes.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { PROJECT } from '../proxy-process.ts';

export type SourceKind = 'logs' | 'metrics' | 'traces';

export interface CorpusSource {
  /** `logs/postgres`. */
  name: string;
  kind: SourceKind;
  /** Absolute path of the folder. */
  folder: string;
}

export interface CorpusBody {
  source: CorpusSource;
  /** Number of the body in what was converted of its source. */
  index: number;
  text: string;
}

/** What was converted of a source, and what of it was yielded. */
export interface SourceCount {
  source: string;
  bodies: number;
  bytes: number;
  sampledBodies: number;
  sampledBytes: number;
  /** Items of the whole source, counted by the converter (by the manifest, when not all files were converted). */
  items: number;
}

/** Span snapshots among the recorded Datadog exchanges. */
const SNAPSHOTS = ['datadog/dd-trace-py', 'datadog/libdatadog'];
const TOOLS: Record<SourceKind, string> = {
  logs: 'logs2dd.mjs',
  metrics: 'metrics2dd.mjs',
  traces: 'traces2dd.mjs',
};
/** Sources of independent files, drawn by the seed, where converting all for a twentieth would take most of the test's time. */
const FILES_CONVERTED_FOR_A_SAMPLE: Record<string, number> = {
  'traces/nezha-onlineboutique': 4,
  'metrics/pcp-hosts': 1,
};
/** Strata are smaller than the share asks for, so that it is reached by items, too, where bodies differ in size. */
const STRATUM_MARGIN = 1.1;

/** The folder that holds corpus/ and tools/; undefined when there is none. */
export function findCorpus(): string | undefined {
  const root = process.env.REDUCTRAI_CORPUS ?? join(dirname(PROJECT), 'shared');
  return existsSync(join(root, 'corpus')) && existsSync(join(root, 'tools', TOOLS.logs)) ? root : undefined;
}

export function listSources(root: string): CorpusSource[] {
  const kinds: SourceKind[] = ['logs', 'metrics', 'traces'];
  const sources = kinds.flatMap((kind) =>
    readdirSync(join(root, 'corpus', kind), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => ({ name: `${kind}/${entry.name}`, kind, folder: join(root, 'corpus', kind, entry.name) })),
  );
  const snapshots = SNAPSHOTS.map((name) => ({ name, kind: 'traces' as const, folder: join(root, 'corpus', name) }));
  return [...sources, ...snapshots].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** A number in [0, 1) that follows from what it is for. */
export function seeded(seed: string): number {
  return createHash('sha256').update(seed).digest().readUInt32LE(0) / 2 ** 32;
}

/**
 * Yields bodies of a source, in its order but for a stratum's largest, which comes last of it. `share` 1: all.
 * Throws when the converter fails, or when it held less than the share.
 */
export async function* readBodies(
  root: string,
  source: CorpusSource,
  share: number,
  seed: string,
): AsyncGenerator<CorpusBody, SourceCount> {
  const { paths, part } = inputsOf(source, share, seed);
  const isAll = share >= 1;
  const ofConverted = Math.min(1, share / part);
  const stratumBodies = isAll ? 1 : Math.max(1, Math.floor(1 / (ofConverted * STRATUM_MARGIN)));
  const count = { bodies: 0, bytes: 0, sampledBodies: 0, sampledBytes: 0 };
  const sampled = (index: number, line: Buffer): CorpusBody => {
    count.sampledBodies += 1;
    count.sampledBytes += line.byteLength;
    return { source, index, text: line.toString('utf8') };
  };
  const isShort = (): boolean => count.sampledBytes < count.bytes * ofConverted;
  let largest: { index: number; line: Buffer } | undefined;
  const converter = convert(root, source, paths);
  for await (const line of converter.lines) {
    const index = count.bodies++;
    count.bytes += line.byteLength;
    const stratum = Math.floor(index / stratumBodies);
    const chosen = Math.floor(seeded(`${seed} ${source.name} ${stratum}`) * stratumBodies);
    if (index % stratumBodies === chosen) yield sampled(index, line);
    else if (!largest || line.byteLength > largest.line.byteLength) largest = { index, line };
    if ((index + 1) % stratumBodies !== 0) continue;
    if (largest && isShort()) yield sampled(largest.index, largest.line);
    largest = undefined;
  }
  const summary = await converter.summary;
  if (largest && (isShort() || count.sampledBodies === 0)) yield sampled(largest.index, largest.line);
  const { items, points, spans } = JSON.parse(summary) as { items?: number; points?: number; spans?: number };
  const converted = items ?? points ?? spans ?? 0;
  return {
    source: source.name,
    ...count,
    items: part === 1 ? converted : manifestCount(root, source),
  };
}

/** The files to convert, and a lower bound of the part of the source that they are. */
function inputsOf(source: CorpusSource, share: number, seed: string): { paths: string[]; part: number } {
  const wanted = FILES_CONVERTED_FOR_A_SAMPLE[source.name];
  if (share >= 1 || wanted === undefined) return { paths: [source.folder], part: 1 };
  const files = readdirSync(source.folder)
    .map((name) => join(source.folder, name))
    .sort(
      (a, b) => seeded(`${seed} ${a.slice(source.folder.length)}`) - seeded(`${seed} ${b.slice(source.folder.length)}`),
    );
  const bytesOf = (paths: string[]): number => paths.reduce((sum, path) => sum + statSync(path).size, 0);
  const paths = files.slice(0, wanted);
  return { paths: paths.sort(), part: bytesOf(paths) / bytesOf(files) };
}

/** Records of a source as the manifest's summary says. */
function manifestCount(root: string, { kind, name }: CorpusSource): number {
  const source = name.slice(name.indexOf('/') + 1);
  const rows = readFileSync(join(root, 'corpus', 'MANIFEST.md'), 'utf8').split('\n');
  const row = rows.find((line) => line.startsWith(`| ${kind} | ${source} |`));
  const count = Number(row?.split('|').at(-2)?.replaceAll(',', '').trim());
  if (!(count > 0)) throw new Error(`the manifest does not count ${name}`);
  return count;
}

/** One converter process: its bodies as lines, and the summary it ends with. */
function convert(root: string, source: CorpusSource, paths: string[]) {
  const tool = join(root, 'tools', TOOLS[source.kind]);
  const child = spawn(process.execPath, [tool, '--out', '-', ...paths], { stdio: ['ignore', 'pipe', 'pipe'] });
  const closed = once(child, 'close');
  const errors: Buffer[] = [];
  child.stderr.on('data', (chunk) => errors.push(chunk));
  const finish = async (): Promise<string> => {
    const [code] = await closed;
    const text = Buffer.concat(errors).toString('utf8').trim();
    if (code !== 0) throw new Error(`converting ${source.name} ended with ${code}: ${text.slice(-500)}`);
    return text.split('\n').at(-1)!;
  };
  const summary = finish();
  summary.catch(() => {});
  return { lines: lines(child.stdout), summary };
}

/** Lines as bytes, without their ends. */
export async function* lines(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let parts: Buffer[] = [];
  for await (const chunk of stream) {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(10, start);
      if (end < 0) break;
      const rest = chunk.subarray(start, end);
      const line = parts.length === 0 ? rest : Buffer.concat([...parts, rest]);
      parts = [];
      start = end + 1;
      if (line.byteLength > 0) yield line;
    }
    if (start < chunk.byteLength) parts.push(chunk.subarray(start));
  }
  if (parts.length > 0) yield Buffer.concat(parts);
}
