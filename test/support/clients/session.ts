/**
 * One run of the product for a real client: proxy process, fake Datadog and fake Agent behind it; and what was kept, read back by the
 * command line after the proxy has stopped as an operator stops it.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type FakeVendor, startFakeVendor, type VendorRequest } from '../fake-vendor.ts';
import { type ProxyProcess, runCli, startProxy } from '../proxy-process.ts';

export const VENDOR_KEY = 'f'.repeat(32);

export interface ClientSession {
  url: string;
  proxy: ProxyProcess;
  vendor: FakeVendor;
  agent: FakeVendor;
  dataFolder: string;
  /** Waits until all that was taken in is delivered, then SIGTERM. Throws unless it exits with 0. */
  stop(): Promise<void>;
  /** Lines of `export` (after `stop`). */
  exported(signal: string, ...options: string[]): Promise<string[]>;
  /** Frees everything, whatever state it is in. */
  close(): Promise<void>;
}

export async function openSession(): Promise<ClientSession> {
  const dataFolder = await mkdtemp(join(tmpdir(), 'reductrai-clients-'));
  const vendor = await startFakeVendor({ apiKeys: [VENDOR_KEY] });
  const agent = await startFakeVendor({ role: 'agent' });
  const env = { FORWARD_TO: vendor.url, AGENT_URL: agent.url, DATADOG_API_KEY: VENDOR_KEY };
  let proxy: ProxyProcess;
  const closeRest = async (): Promise<void> => {
    await Promise.all([vendor.close(), agent.close()]);
    await rm(dataFolder, { recursive: true, force: true, maxRetries: 3 });
  };
  try {
    proxy = await startProxy({ dataFolder, env });
  } catch (error) {
    await closeRest();
    throw error;
  }
  return {
    url: proxy.url,
    proxy,
    vendor,
    agent,
    dataFolder,
    stop: async () => {
      proxy.child.kill('SIGTERM');
      const { code, signal } = await proxy.exited;
      if (code !== 0) throw new Error(`the proxy ended with ${code ?? signal}:\n${proxy.lines.slice(-30).join('\n')}`);
    },
    exported: async (signal, ...options) => {
      const run = await runCli(['export', '--signal', signal, ...options], { DATA_DIR: dataFolder });
      if (run.code !== 0) throw new Error(`export ended with ${run.code}: ${run.stderr}`);
      return run.stdout.split('\n').filter((line) => line !== '');
    },
    close: async () => {
      await proxy.kill();
      await closeRest();
    },
  };
}

/** The requests to one path, in the order they arrived. */
export function requestsTo(vendor: FakeVendor, path: string): VendorRequest[] {
  return vendor.requests.filter((request) => request.path === path);
}
