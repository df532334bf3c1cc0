/** The command line of `npm run bench` and `npm run bench:load`. */
import { parseArgs } from 'node:util';
import { MIB } from '../src/core/limits.ts';

export const USAGE = `Usage: node bench/bench.ts [options]

  --filter TEXT      only cases whose name contains TEXT (logs, metrics/nab, gzip …)
  --payloads DIR     your own bodies: DIR/{metrics,logs,traces}/NAME.ndjson[.gz|.zst], one JSON request body per line
  --json FILE        writes the results as JSON
  --seconds N        time to sample each figure for (default 2; load cases 15)
  --cap-mib N        raw MiB taken of each source (default 16; all of it with --payloads)
  --seed N           seed of the made-up traffic (default 1)
  --quick            the smallest run that still gives every figure: little data, few samples
  --forms            also each source as protobuf and msgpack: speeds by protocol
  --no-duckdb        leaves out the baseline that DuckDB writes
  --load             the whole proxy under load instead (see bench/README.md)
  --connections N    with --load: connections of the generator (default 64)
  --help
`;

export interface BenchOptions {
  filter: string;
  payloads: string | undefined;
  json: string | undefined;
  seconds: number;
  /** Raw bytes taken of each source; Infinity: all. */
  capBytes: number;
  seed: number;
  quick: boolean;
  duckdb: boolean;
  forms: boolean;
  load: boolean;
  connections: number;
}

/** The options, a usage error as text, or 'help'. */
export function parseOptions(args: string[]): BenchOptions | string {
  let values: ReturnType<typeof parse>['values'];
  try {
    values = parse(args).values;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  if (values.help) return 'help';
  const quick = values.quick ?? false;
  const load = values.load ?? false;
  const numbers = {
    seconds: values.seconds ?? (quick ? '0.2' : load ? '15' : '2'),
    'cap-mib': values['cap-mib'] ?? (values.payloads !== undefined ? 'Infinity' : quick ? '1' : '16'),
    seed: values.seed ?? '1',
    connections: values.connections ?? '64',
  };
  for (const [name, text] of Object.entries(numbers)) {
    if (!(Number(text) > 0)) return `--${name}: not a number above 0: ${text}`;
  }
  return {
    filter: values.filter ?? '',
    payloads: values.payloads,
    json: values.json,
    seconds: Number(numbers.seconds),
    capBytes: Number(numbers['cap-mib']) * MIB,
    seed: Number(numbers.seed),
    quick,
    duckdb: !(values['no-duckdb'] ?? false),
    forms: values.forms ?? false,
    load,
    connections: Math.ceil(Number(numbers.connections)),
  };
}

function parse(args: string[]) {
  return parseArgs({
    args,
    options: {
      filter: { type: 'string' },
      payloads: { type: 'string' },
      json: { type: 'string' },
      seconds: { type: 'string' },
      'cap-mib': { type: 'string' },
      seed: { type: 'string' },
      quick: { type: 'boolean' },
      forms: { type: 'boolean' },
      'no-duckdb': { type: 'boolean' },
      load: { type: 'boolean' },
      connections: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  });
}
