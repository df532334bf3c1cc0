/** The commands and SQL of the documents, run as they stand: exit code, and the output where one is shown. */
import { rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  allBlocks,
  type Block,
  fileNameOf,
  holdsCommands,
  isExactOutput,
  isOutput,
  placeOf,
  runMarkerOf,
} from './support/blocks.ts';
import { type Checkout, makeStore, openCheckout } from './support/checkout.ts';
import { missingLine } from './support/outputs.ts';

const PATIENCE_MS = 240_000;

const blocks = allBlocks();
const runs = blocks.filter((block) => runMarkerOf(block) !== undefined);
const files = blocks.filter((block) => fileNameOf(block) !== undefined);
/** By page and set-up: what stands in one page goes on where the block before has ended. */
const sessions = [...Map.groupBy(runs, (block) => `${block.page} (${runMarkerOf(block)!.setup})`)];

let store: string;
beforeAll(async () => {
  store = await makeStore();
}, PATIENCE_MS);
afterAll(async () => {
  if (store) await rm(dirname(store), { recursive: true, force: true, maxRetries: 3 });
});

describe.each(sessions)('%s', (_, session) => {
  test(
    session.map(({ line }) => `line ${line}`).join(', '),
    async () => {
      const checkout = await openCheckout(runMarkerOf(session[0]!)!.setup, store);
      try {
        for (const file of files.filter(({ page }) => page === session[0]!.page)) {
          await writeFile(join(checkout.folder, fileNameOf(file)!), file.text);
        }
        for (const block of session) {
          const printed = holdsCommands(block) ? await runCommands(checkout, block) : await runSql(checkout, block);
          const next = blocks[blocks.indexOf(block) + 1];
          if (next && isOutput(next) && next.page === block.page) {
            expect(
              missingLine(next.text, printed, isExactOutput(next)),
              `${placeOf(next)}, printed was:\n${printed}`,
            ).toBeUndefined();
          }
          await checkout.settled();
        }
      } finally {
        await checkout.close();
      }
    },
    PATIENCE_MS,
  );
});

async function runCommands(checkout: Checkout, block: Block): Promise<string> {
  const { code, output } = await checkout.run(block.text.replace(/^\$ /gm, ''));
  expect(code, `${placeOf(block)} printed:\n${output}`).toBe(runMarkerOf(block)!.exitCode);
  return output;
}

/** At least one row comes back: an example that finds nothing shows nothing. */
async function runSql(checkout: Checkout, block: Block): Promise<string> {
  const sql = checkout.here(block.text);
  if (runMarkerOf(block)!.withQuery) {
    const { code, output, stdout } = await checkout.run('reductrai query "$SQL"', { SQL: sql });
    expect(code, `${placeOf(block)} printed:\n${output}`).toBe(0);
    expect(stdout.trim(), `${placeOf(block)} finds nothing`).not.toBe('');
    return output;
  }
  const instance = await DuckDBInstance.create(':memory:', { threads: '1' });
  const connection = await instance.connect();
  try {
    let rows: unknown[] = [];
    for (const statement of sql.split(/;\s*$/m).filter((part) => part.trim() !== '')) {
      rows = (await connection.runAndReadAll(statement)).getRowsJson();
    }
    expect(rows.length, `${placeOf(block)} finds nothing`).toBeGreaterThan(0);
    return rows.map((row) => JSON.stringify(row)).join('\n');
  } catch (error) {
    throw new Error(`${placeOf(block)}: ${error instanceof Error ? error.message : error}`);
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}
