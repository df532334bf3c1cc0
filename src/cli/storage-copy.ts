/** `reductrai storage copy --from URL --to URL`: every object of one store into another, resumable and verified. */
import { parseArgs } from 'node:util';
import type { Settings } from '../config/registry.ts';
import { storeSettingsAt } from '../config/storage.ts';
import { systemClock } from '../core/clock.ts';
import { messageOf } from '../core/errors.ts';
import { humanBytes } from '../query/table.ts';
import { type CopyProgress, copyStore } from '../store/copy.ts';
import { type CliIo, fail } from './io.ts';
import { openStoreOf } from './open-store.ts';

const USAGE = `Usage: reductrai storage copy --from URL --to URL [--concurrent N] [--check-present]

Copies every object: file:///path, s3://bucket/prefix, gs://bucket/prefix, azblob://account/container/prefix. Credentials and what a
URL does not say come from the configuration. Each copy is read back and compared. Nothing is deleted, and nothing but leases is
overwritten. Run it again after an interruption: what is there already is left alone. Commit records go last, so that queries never see
half a copy. The store may be in use: the copy has what was acknowledged when it began.

  --concurrent N     objects copied at once (default 8)
  --check-present    also read and compare what was there before
  --encrypted        copy encrypted objects as they are, without the key
`;

const CONCURRENT_DEFAULT = 8;
const CONCURRENT_MAX = 64;
const BAR_CHARACTERS = 24;

export async function runStorage(args: string[], io: CliIo, settingsOf: () => Settings): Promise<number> {
  const [action, ...rest] = args;
  let values: ReturnType<typeof parse>['values'];
  try {
    values = parse(rest).values;
  } catch (error) {
    return fail(io, messageOf(error), USAGE);
  }
  if (values.help || action === undefined || action === '--help' || action === '-h') {
    io.stdout.write(USAGE);
    return 0;
  }
  if (action !== 'copy') return fail(io, `unknown action ${JSON.stringify(action)}`, USAGE);
  if (!values.from || !values.to) return fail(io, '--from and --to are needed', USAGE);
  const concurrentMax = Number(values.concurrent ?? CONCURRENT_DEFAULT);
  if (!Number.isInteger(concurrentMax) || concurrentMax < 1 || concurrentMax > CONCURRENT_MAX) {
    return fail(io, `--concurrent is 1 to ${CONCURRENT_MAX}`, USAGE);
  }
  try {
    const settings = settingsOf();
    const settingsAt = (url: string) => {
      const { encryptionKey, ...plain } = storeSettingsAt(settings, url);
      return encryptionKey && !values.encrypted ? { ...plain, encryptionKey } : plain;
    };
    const from = await openStoreOf({ ...settingsAt(values.from), readOnly: true });
    const to = await openStoreOf(settingsAt(values.to));
    const startedMs = systemClock.monotonicMs();
    const progress = await copyStore(from.store, to.store, {
      concurrentMax,
      checkPresent: values['check-present'] === true,
      ...(io.stderrIsTerminal ? { onProgress: (now) => io.stderr.write(`\r${lineOf(now)}`) } : {}),
    });
    const seconds = (systemClock.monotonicMs() - startedMs) / 1000;
    io.stderr.write(`${io.stderrIsTerminal ? '\n' : ''}${lineOf(progress)} in ${seconds.toFixed(1)} s\n`);
    await from.store.close();
    await to.store.close();
    return 0;
  } catch (error) {
    return fail(io, messageOf(error));
  }
}

/** The total is not known before the end: the bar shows the share of what was found so far. */
function lineOf({ objects, copied, copiedBytes, present, gone }: CopyProgress): string {
  const share = objects === 0 ? 0 : (copied + present + gone) / objects;
  const filled = Math.round(share * BAR_CHARACTERS);
  const bar = `${'█'.repeat(filled)}${'░'.repeat(BAR_CHARACTERS - filled)}`;
  return `${bar} ${copied} copied (${humanBytes(copiedBytes)}), ${present} were there, of ${objects} found${gone > 0 ? `; ${gone} were deleted meanwhile` : ''}`;
}

function parse(args: string[]) {
  return parseArgs({
    args,
    options: {
      from: { type: 'string' },
      to: { type: 'string' },
      concurrent: { type: 'string' },
      'check-present': { type: 'boolean' },
      encrypted: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  });
}
