/** `reductrai verify`: walks the store and tells what does not hold. Never changes anything. */
import { parseArgs } from 'node:util';
import { systemClock } from '../core/clock.ts';
import { messageOf } from '../core/errors.ts';
import { humanBytes } from '../query/table.ts';
import { verifyStore } from '../query/verify.ts';
import { type CliIo, fail, type OpenedStore, write } from './io.ts';

const USAGE = `Usage: reductrai verify [--quick] [--repair] [--config FILE]

Walks the whole store: commit records without gaps, journal ranges without gaps or overlaps, every segment there, with its checksum
and a readable footer, and no object that nothing refers to. One finding a line, as JSON; exit code 1 when there is any.

  --quick    sizes and footers only; segments are not read whole
  --repair   say for each finding what can be done about it; nothing is changed or deleted
`;

const CONCURRENT_MAX = 8;

export async function runVerify(args: string[], io: CliIo, open: () => Promise<OpenedStore>): Promise<number> {
  let values: ReturnType<typeof parse>['values'];
  try {
    values = parse(args).values;
  } catch (error) {
    return fail(io, messageOf(error), USAGE);
  }
  if (values.help) {
    io.stdout.write(USAGE);
    return 0;
  }
  try {
    const opened = await open();
    const summary = await verifyStore(opened.store, {
      isDeep: !values.quick,
      nowMs: systemClock.nowMs(),
      concurrentMax: CONCURRENT_MAX,
      onFinding: async ({ repair, ...finding }) => {
        await write(io.stdout, `${JSON.stringify(values.repair ? { ...finding, repair } : finding)}\n`);
      },
      ...(io.stderrIsTerminal
        ? { onProgress: (done: number, total: number) => io.stderr.write(`\r${done} of ${total} segments`) }
        : {}),
    });
    await opened.close();
    const { journals, records, segments, rows, bytes, findings } = summary;
    io.stderr.write(
      `${io.stderrIsTerminal ? '\n' : ''}${journals} journals, ${records} commit records, ${segments} segments, ${rows} rows, ` +
        `${humanBytes(bytes)}: ${findings === 0 ? 'all is well' : `${findings} findings`}\n`,
    );
    return findings === 0 ? 0 : 1;
  } catch (error) {
    return fail(io, messageOf(error));
  }
}

function parse(args: string[]) {
  return parseArgs({
    args,
    options: {
      quick: { type: 'boolean' },
      repair: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  });
}
