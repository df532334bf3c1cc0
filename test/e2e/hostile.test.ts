/**
 * Promise 6 and the bounds: malformed, truncated, wrongly encoded and bomb bodies on every path get the right status and a clear
 * message, and a crowd of the largest bodies costs memory only up to the in-flight budget; probes are answered all the while.
 */
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { Agent, request } from 'undici';
import { describe, expect, test } from 'vitest';
import { ROUTES } from '../../src/intake/routes.ts';
import { startProxy } from '../support/proxy-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';

const MIB = 1024 * 1024;

function rssBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;
}

describe('hostile bodies', () => {
  test('every route refuses what it cannot read, says why, and goes on', async () => {
    const proxy = await startProxy({ dataFolder: await temporaryFolder() });
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
        books: { intake: { balance: number } };
      };
      expect(status.inflight.usedBytes).toBe(0);
      expect(status.books.intake.balance).toBe(0);
    } finally {
      await proxy.kill();
    }
  }, 240_000);

  test('200 of the largest bodies at once stay within the budget', async () => {
    const budgetBytes = 128 * MIB;
    const proxy = await startProxy({
      dataFolder: await temporaryFolder(),
      env: {
        REDUCTRAI_INTAKE_INFLIGHT_BYTES_MAX: '128MiB',
        REDUCTRAI_INTAKE_BODY_BYTES_MAX: '32MiB',
        REDUCTRAI_INTAKE_DECOMPRESSED_BYTES_MAX: '64MiB',
        REDUCTRAI_ARCHIVE_HELD_BYTES_MAX: '16MiB',
      },
    });
    const line = `${JSON.stringify({ message: 'x'.repeat(1000), service: 'crowd' })},`;
    const body = Buffer.from(`[${line.repeat(Math.floor((30 * MIB) / line.length))}{"message":"end"}]`);
    const agent = new Agent({ connections: 200, headersTimeout: 120_000, bodyTimeout: 120_000 });
    let peak = 0;
    let slowest = 0;
    let done = false;
    const watch = (async () => {
      while (!done) {
        peak = Math.max(peak, rssBytes(proxy.pid));
        const startedMs = performance.now();
        const answer = await request(`${proxy.url}/livez`);
        await answer.body.dump();
        expect(answer.statusCode).toBe(200);
        slowest = Math.max(slowest, performance.now() - startedMs);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    })();
    try {
      const statuses = await Promise.all(
        Array.from({ length: 200 }, async () => {
          try {
            const answer = await request(`${proxy.url}/api/v2/logs`, {
              method: 'POST',
              body,
              headers: { 'content-type': 'application/json' },
              dispatcher: agent,
            });
            await answer.body.dump();
            return answer.statusCode;
          } catch {
            // Refused while the body was still being sent.
            return 0;
          }
        }),
      );
      done = true;
      await watch;
      expect(statuses.filter((status) => ![202, 503, 0].includes(status))).toEqual([]);
      expect(statuses.filter((status) => status === 202).length).toBeGreaterThan(0);
      expect(peak).toBeLessThan(budgetBytes + 256 * MIB);
      console.log(
        `peak RSS ${Math.round(peak / MIB)} MiB, slowest /livez ${Math.round(slowest)} ms, ${statuses.filter((s) => s === 202).length} taken`,
      );
    } finally {
      done = true;
      await proxy.kill();
      await agent.destroy();
    }
  }, 240_000);
});
