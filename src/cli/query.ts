/** `reductrai query "SELECT …"`: SQL over what was kept. */
import { parseArgs } from 'node:util';
import { messageOf } from '../core/errors.ts';
import { openCatalogue } from '../query/catalogue.ts';
import { openEngine, type QueryResult } from '../query/engine.ts';
import { cellOf, csvOf, formatTable, jsonOf } from '../query/table.ts';
import { traceIdOf } from '../query/trace-id.ts';
import { type CliIo, fail, filesOf, type OpenedStore, timeOf, write } from './io.ts';

const USAGE = `Usage: reductrai query [options] "SELECT …"

Views: metrics, logs, spans, events (items), rollups (metrics as they age), and <name>_raw (every row and column).

  --format table|ndjson|json|csv   default: table on a terminal, ndjson when piped
  --from TIME, --to TIME      only rows of this time (ISO or ms); opens fewer segments
  --trace ID                  of spans and logs only those of this trace (decimal or hex); fetches only segments that may hold it
  --config FILE               the proxy's configuration

Examples:
  reductrai query "SELECT service, count(*) FROM logs WHERE status = 'error' GROUP BY ALL"
  reductrai query "SELECT time, metric, value, tags FROM metrics WHERE metric LIKE 'system.cpu%' ORDER BY time DESC LIMIT 20"
  reductrai query "SELECT resource, avg(duration)/1e6 AS ms FROM spans GROUP BY ALL ORDER BY ms DESC"
  reductrai query --trace 68d0f5c300000000a1b2c3d4e5f60718 "SELECT time, service, resource, duration_ms FROM spans ORDER BY time"
`;

const TABLE_ROWS_MAX = 10_000;

export async function runQuery(args: string[], io: CliIo, open: () => Promise<OpenedStore>): Promise<number> {
  let parsed: ReturnType<typeof parse>;
  try {
    parsed = parse(args);
  } catch (error) {
    return fail(io, messageOf(error), USAGE);
  }
  const { values, positionals } = parsed;
  if (values.help) {
    io.stdout.write(USAGE);
    return 0;
  }
  const format = values.format ?? (io.stdoutIsTerminal ? 'table' : 'ndjson');
  const fromMs = values.from === undefined ? undefined : timeOf(values.from);
  const toMs = values.to === undefined ? undefined : timeOf(values.to);
  if (values.from !== undefined && fromMs === undefined) return fail(io, `--from: no time: ${values.from}`, USAGE);
  if (values.to !== undefined && toMs === undefined) return fail(io, `--to: no time: ${values.to}`, USAGE);
  const trace = values.trace === undefined ? undefined : traceIdOf(values.trace);
  if (values.trace !== undefined && !trace) return fail(io, `--trace: no trace id: ${values.trace}`, USAGE);
  if (positionals.length !== 1) return fail(io, 'one SQL statement is needed', USAGE);
  if (!['table', 'ndjson', 'json', 'csv'].includes(format)) return fail(io, `unknown format ${format}`, USAGE);
  try {
    const opened = await open();
    const catalogue = await openCatalogue(opened.store);
    const filter = {
      ...(fromMs === undefined ? {} : { fromMs }),
      ...(toMs === undefined ? {} : { toMs }),
      ...(trace ? { trace } : {}),
    };
    const engine = await openEngine({ ...filesOf(opened), catalogue, filter });
    try {
      await print(io, format, await engine.run(positionals[0]!));
    } finally {
      await engine.close();
      await opened.close();
    }
    return 0;
  } catch (error) {
    return fail(io, messageOf(error));
  }
}

function parse(args: string[]) {
  return parseArgs({
    args,
    allowPositionals: true,
    options: {
      format: { type: 'string' },
      from: { type: 'string' },
      to: { type: 'string' },
      trace: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  });
}

async function print(io: CliIo, format: string, result: QueryResult): Promise<void> {
  const { columns, rows } = result;
  if (format === 'table') {
    const cells: string[][] = [];
    let more = 0;
    for await (const chunk of rows) {
      for (const row of chunk) {
        if (cells.length < TABLE_ROWS_MAX) cells.push(row.map(cellOf));
        else more += 1;
      }
    }
    await write(io.stdout, formatTable(columns, cells, io.columns));
    if (more > 0) io.stderr.write(`and ${more} more rows: use --format ndjson\n`);
    return;
  }
  if (format === 'csv') await write(io.stdout, `${columns.map(csvOf).join(',')}\n`);
  if (format === 'json') await write(io.stdout, '[');
  let isFirst = true;
  for await (const chunk of rows) {
    const lines = chunk.map((row) =>
      format === 'csv'
        ? row.map((value) => csvOf(cellOf(value))).join(',')
        : `{${columns.map((name, i) => `${JSON.stringify(name)}:${jsonOf(row[i] ?? null)}`).join(',')}}`,
    );
    if (lines.length === 0) continue;
    if (format === 'json') await write(io.stdout, `${isFirst ? '' : ','}\n${lines.join(',\n')}`);
    else await write(io.stdout, `${lines.join('\n')}\n`);
    isFirst = false;
  }
  if (format === 'json') await write(io.stdout, '\n]\n');
}
