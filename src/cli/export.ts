/** `reductrai export`: items exactly as they were sent, one JSON text a line, in the order they came. */
import { parseArgs } from 'node:util';
import { SIGNALS, type Signal } from '../core/envelope.ts';
import { messageOf } from '../core/errors.ts';
import { openCatalogue } from '../query/catalogue.ts';
import { exportItems } from '../query/export.ts';
import { type CliIo, fail, filesOf, type OpenedStore, timeOf, write } from './io.ts';

const USAGE = `Usage: reductrai export --signal metrics|logs|traces|events [options]

  --from TIME, --to TIME   only rows of this time (ISO or ms since the epoch)
  --all                    also what surrounds items (payloads), statistics, and what was kept opaque
  --config FILE            the proxy's configuration
`;

const LINES_PER_WRITE = 500;
const PROGRESS_EVERY = 50_000;

export async function runExport(args: string[], io: CliIo, open: () => Promise<OpenedStore>): Promise<number> {
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
  const { signal } = values;
  if (!SIGNALS.includes(signal as Signal)) return fail(io, '--signal is one of metrics, logs, traces, events', USAGE);
  const fromMs = values.from === undefined ? undefined : timeOf(values.from);
  const toMs = values.to === undefined ? undefined : timeOf(values.to);
  if (values.from !== undefined && fromMs === undefined) return fail(io, `--from: no time: ${values.from}`, USAGE);
  if (values.to !== undefined && toMs === undefined) return fail(io, `--to: no time: ${values.to}`, USAGE);
  try {
    const opened = await open();
    const items = exportItems({
      catalogue: await openCatalogue(opened.store),
      signal: signal as Signal,
      includeAll: values.all === true,
      filter: { ...(fromMs === undefined ? {} : { fromMs }), ...(toMs === undefined ? {} : { toMs }) },
      ...filesOf(opened),
    });
    let lines: string[] = [];
    let count = 0;
    for await (const item of items) {
      lines.push(item);
      count += 1;
      if (lines.length >= LINES_PER_WRITE) {
        await write(io.stdout, `${lines.join('\n')}\n`);
        lines = [];
      }
      if (io.stderrIsTerminal && count % PROGRESS_EVERY === 0) io.stderr.write(`\r${count} items`);
    }
    if (lines.length > 0) await write(io.stdout, `${lines.join('\n')}\n`);
    if (io.stderrIsTerminal) io.stderr.write(`\r${count} items\n`);
    await opened.close();
    return 0;
  } catch (error) {
    return fail(io, messageOf(error));
  }
}

function parse(args: string[]) {
  return parseArgs({
    args,
    options: {
      signal: { type: 'string' },
      from: { type: 'string' },
      to: { type: 'string' },
      all: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  });
}
