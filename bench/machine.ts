/** What the figures were taken on and with: part of every JSON result. */
import { execFileSync } from 'node:child_process';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { PROJECT } from '../test/support/proxy-process.ts';

export interface MachineFacts {
  cpu: string;
  cores: number;
  memoryGiB: number;
  os: string;
  arch: string;
  node: string;
  v8: string;
  zstd: string;
  /** Commit of the project; `-dirty` when files differ from it; 'unknown' outside of a checkout. */
  commit: string;
  takenAt: string;
  noise: Noise;
}

/** How far the machine is from being ours alone. On shared machines these limit what any figure can say. */
export interface Noise {
  /** Longest time that a busy loop was not run. */
  stallMaxMs: number;
  /** Share of the time in stalls of a millisecond and more. */
  stalledShare: number;
  /** How fast memory that was not used before can be touched: slow on machines that get it from their host page by page. */
  freshMemoryMBps: number;
}

export function machineFacts(): MachineFacts {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round((totalmem() / 2 ** 30) * 10) / 10,
    os: `${process.platform} ${release()}`,
    arch: process.arch,
    node: process.version,
    v8: process.versions.v8,
    zstd: process.versions.zstd ?? 'unknown',
    commit: commit(),
    takenAt: new Date().toISOString(),
    noise: measureNoise(),
  };
}

const NOISE_MS = 500;
const STALL_MS = 1;
const FRESH_BYTES = 64 * 1024 * 1024;
const PAGE_BYTES = 4096;

function measureNoise(): Noise {
  let stallMaxMs = 0;
  let stalledMs = 0;
  const startedMs = performance.now();
  for (let lastMs = startedMs; lastMs < startedMs + NOISE_MS; ) {
    const nowMs = performance.now();
    const gapMs = nowMs - lastMs;
    if (gapMs >= STALL_MS) stalledMs += gapMs;
    if (gapMs > stallMaxMs) stallMaxMs = gapMs;
    lastMs = nowMs;
  }
  const tookMs = performance.now() - startedMs;
  const touchedMs = performance.now();
  const fresh = new Uint8Array(FRESH_BYTES);
  for (let at = 0; at < fresh.byteLength; at += PAGE_BYTES) fresh[at] = 1;
  const freshMemoryMBps = FRESH_BYTES / 1e3 / (performance.now() - touchedMs);
  return { stallMaxMs, stalledShare: stalledMs / tookMs, freshMemoryMBps };
}

/** One line for above a table. */
export function machineLine({ cpu, cores, node, commit, noise }: MachineFacts): string {
  const { stallMaxMs, stalledShare, freshMemoryMBps } = noise;
  const stalls = `stalls up to ${Math.round(stallMaxMs)} ms (${Math.round(stalledShare * 100)}% of the time)`;
  return `${cpu}, ${cores} cores, Node ${node}, commit ${commit}; ${stalls}, fresh memory at ${Math.round(freshMemoryMBps)} MB/s`;
}

function commit(): string {
  try {
    const git = (...args: string[]): string =>
      execFileSync('git', args, { cwd: PROJECT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
    return git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain') === '' ? '' : '-dirty');
  } catch {
    return 'unknown';
  }
}
