/**
 * Promise 6 and the bounds: malformed, truncated, wrongly encoded and bomb bodies on every path get the right status and a clear
 * message, and a crowd of the largest bodies costs memory only up to the in-flight budget; probes are answered all the while.
 */
import { readFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { gzipSync } from 'node:zlib';
import { request } from 'undici';
import { describe, expect, test } from 'vitest';
import { ROUTES } from '../../src/intake/routes.ts';
import { type RunningCrowd, type RunningProber, startCrowd, startProber } from '../support/load/load-processes.ts';
import { startProxy } from '../support/proxy-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const MIB = 1024 * 1024;

function rssBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;
}

describe('hostile bodies', () => {
  test('every route refuses what it cannot read, says why, and goes on', async () => {
    // Each bomb is inflated up to the cap, on every route.
    const env = { REDUCTRAI_INTAKE_DECOMPRESSED_BYTES_MAX: '16MiB' };
    const proxy = await startProxy({ dataFolder: await temporaryFolder(), env });
    const bomb = gzipSync(Buffer.alloc(120 * MIB));
    try {
      for (const { path, methods } of ROUTES) {
        const url = proxy.url + path.replace(':key', 'k'.repeat(32));
        const send = async (body: Buffer, headers: Record<string, string> = {}) => {
          const answer = await request(url, {
            method: methods[0]!,
            body,
            headers: { 'content-type': 'application/json', ...headers },
          });
          const text = await answer.body.text();
          return { status: answer.statusCode, errors: (JSON.parse(text || '{}') as { errors?: string[] }).errors };
        };
        const cases: [string, Buffer, Record<string, string>, number[]][] = [
          ['cut', Buffer.from('[{"series":[{"metric":"a'), {}, [400]],
          ['binary noise', Buffer.from([0xff, 0xfe, 0x00, 0x9f, 0xc1, 0x80, 0x07]), {}, [400]],
          ['not gzip', Buffer.from('plain text that is no gzip'), { 'content-encoding': 'gzip' }, [400]],
          ['not zstd', Buffer.from('plain text that is no zstd'), { 'content-encoding': 'zstd' }, [400]],
          ['unknown encoding', Buffer.from('{}'.repeat(50)), { 'content-encoding': 'rot13' }, [415]],
          ['bomb', bomb, { 'content-encoding': 'gzip' }, [413]],
        ];
        for (const [name, body, headers, statuses] of cases) {
          const answer = await send(body, headers);
          expect(statuses, `${path} ${name}`).toContain(answer.status);
          expect(answer.errors?.[0], `${path} ${name}`).toBeTruthy();
        }
      }
      const fine = await request(`${proxy.url}/api/v2/logs`, {
        method: 'POST',
        body: '[{"message":"still here"}]',
        headers: { 'content-type': 'application/json' },
      });
      expect(fine.statusCode).toBe(202);
      const status = (await (await request(`${proxy.url}/status`)).body.json()) as {
        inflight: { usedBytes: number };
        archive: { heldBytes: number };
        books: { intake: { balance: number } };
      };
      // What was taken rests with the archive until it is stored; nothing else holds memory.
      expect(status.inflight.usedBytes).toBe(status.archive.heldBytes);
      expect(status.books.intake.balance).toBe(0);
    } finally {
      await proxy.kill();
    }
  }, 240_000);

  // Once more where the machine itself stood still for so long that memory could not be given back in time.
  test('200 of the largest bodies at once: memory within the budget, probes answered', {
    retry: 1,
    timeout: 240_000,
  }, async () => {
    const budgetBytes = 256 * MIB;
    const proxy = await startProxy({ dataFolder: await temporaryFolder() });
    // What this machine itself does to a process that has nothing to do: 0 or so where it is quiet.
    const idle = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
    let prober: RunningProber | undefined;
    let crowd: RunningCrowd | undefined;
    let peak = 0;
    const watch = setInterval(() => {
      peak = Math.max(peak, rssBytes(proxy.pid));
    }, 20);
    try {
      prober = await startProber(proxy.url, 20);
      crowd = await startCrowd({
        url: proxy.url,
        senders: 200,
        // Just below the caps: 64 MiB as received, 100 MiB once decompressed.
        bodies: [
          { form: 'logs-json', rawBytes: 62 * MIB, encoding: 'identity' },
          { form: 'logs-noise', rawBytes: 80 * MIB, encoding: 'zstd' },
          { form: 'series-json', rawBytes: 62 * MIB, encoding: 'identity' },
          { form: 'series-proto', rawBytes: 62 * MIB, encoding: 'identity' },
          { form: 'logs-json', rawBytes: 98 * MIB, encoding: 'zstd' },
        ],
      });
      idle.enable();
      const { statuses, seconds } = await crowd.report;
      // The gauge covers the seconds before its last refresh.
      await new Promise((resolve) => setTimeout(resolve, 5_500));
      const loopMs = (await loopDelaySeconds(proxy.url)) * 1000;
      const probe = await prober.finish();
      const idleMs = { p99: idle.percentile(99) / 1e6 - RESOLUTION_MS, max: idle.max / 1e6 - RESOLUTION_MS };
      console.log(
        JSON.stringify({ statuses, seconds, peakMiB: Math.round(peak / MIB), loopP99Ms: loopMs, idleMs, probe }),
      );
      // `broken`: refused, and closed while the body was still being sent.
      expect(Object.keys(statuses).filter((status) => !['202', '503', '408', 'broken'].includes(status))).toEqual([]);
      expect(statuses['202'] ?? 0).toBeGreaterThan(0);
      expect(peak).toBeLessThan(budgetBytes + 256 * MIB);
      expect(probe.failures).toBe(0);
      // How fast they were is printed and no verdict: on a machine that stalls, so does a process that has nothing to do.
    } finally {
      clearInterval(watch);
      idle.disable();
      crowd?.kill();
      prober?.kill();
      await proxy.kill();
    }
  });
});

/** Of Node's sampling: it is part of every value it gives. */
const RESOLUTION_MS = 10;

async function loopDelaySeconds(url: string): Promise<number> {
  const text = await (await request(`${url}/metrics`)).body.text();
  return Number(/^reductrai_event_loop_delay_p99_seconds (\S+)/m.exec(text)![1]);
}
