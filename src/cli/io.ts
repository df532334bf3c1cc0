/** What a command has of the world: where it writes, and the store it reads. */
import { once } from 'node:events';
import type { ByteRange, ObjectReader } from '../store/object-store.ts';

export interface CliIo {
  stdout: NodeJS.WritableStream;
  stderr: NodeJS.WritableStream;
  stdoutIsTerminal: boolean;
  stderrIsTerminal: boolean;
  /** Width of the terminal. */
  columns: number;
}

export interface OpenedStore {
  store: ObjectReader;
  /** Where a segment's file is, once it is ready. */
  pathOf(key: string): string;
  ready?(keys: readonly string[]): Promise<void>;
  release?(keys: readonly string[]): Promise<void>;
  /** Part of an object that is not fetched for it; absent: `store` gives it. */
  peek?(key: string, range: ByteRange): Promise<Uint8Array>;
  close(): Promise<void>;
  tempFolder: string;
  memoryLimit: string;
}

/** What the engine needs of it. */
export function filesOf(opened: OpenedStore) {
  return {
    pathOf: (key: string) => opened.pathOf(key),
    ready: async (keys: readonly string[]) => opened.ready?.(keys),
    release: async (keys: readonly string[]) => opened.release?.(keys),
    readRange: async (key: string, range: ByteRange) =>
      opened.peek ? opened.peek(key, range) : (await opened.store.get(key, range)).bytes,
    memoryLimit: opened.memoryLimit,
    tempFolder: opened.tempFolder,
  };
}

/** Writes and waits when the reader is slower than we are. */
export async function write(stream: NodeJS.WritableStream, text: string): Promise<void> {
  if (!stream.write(text)) await once(stream, 'drain');
}

export function fail(io: CliIo, message: string, usage?: string): number {
  io.stderr.write(`${message}\n${usage ? `\n${usage}` : ''}`);
  return usage === undefined ? 1 : 2;
}

/** ISO time or ms since the epoch; undefined when it is neither. */
export function timeOf(text: string): number | undefined {
  const ms = /^\d+$/.test(text) ? Number(text) : Date.parse(text);
  return Number.isFinite(ms) ? ms : undefined;
}
