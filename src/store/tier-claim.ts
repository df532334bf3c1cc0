/**
 * A store of tiers belongs to one main store, for only its commit records say what in there is live: another's upkeep would take the
 * segments for leftovers. `store.json` names the main store, `tier-of.json` in the other says whose it is; both are made once.
 */
import { z } from 'zod';
import { isProxyError, ProxyError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import type { ObjectStore } from './object-store.ts';

const STORE_KEY = 'store.json';
const CLAIM_KEY = 'tier-of.json';
const ID_BYTES = 16;

const Named = z.object({ format: z.literal(1), store: z.string().min(1) });

/** STORE_INVALID when one of them belongs to another store; other errors as the stores'. */
export async function claimTierStores(main: ObjectStore, stores: Iterable<ObjectStore>, random: Random): Promise<void> {
  const own = await nameIn(main, STORE_KEY, Buffer.from(random.bytes(ID_BYTES)).toString('hex'));
  for (const store of stores) {
    const found = await nameIn(store, CLAIM_KEY, own);
    if (found !== own) {
      throw new ProxyError(
        'STORE_INVALID',
        `${store.url} holds the tier of another store, not of ${main.url}: give each a prefix or folder of its own`,
      );
    }
  }
}

/** The name that is there, or the one given, which is there then. */
async function nameIn(store: ObjectStore, key: string, name: string): Promise<string> {
  const found = await read(store, key);
  if (found !== undefined) return found;
  try {
    const body = Buffer.from(`${JSON.stringify({ format: 1, store: name } satisfies z.infer<typeof Named>)}\n`);
    await store.put(key, body, { condition: { kind: 'absent' } });
    return name;
  } catch (error) {
    if (!isProxyError(error, 'STORE_EXISTS')) throw error;
  }
  const theirs = await read(store, key);
  if (theirs === undefined) throw new ProxyError('STORE_CONFLICT', `${key} came and went in ${store.url}`);
  return theirs;
}

async function read(store: ObjectStore, key: string): Promise<string | undefined> {
  let bytes: Uint8Array;
  try {
    ({ bytes } = await store.get(key));
  } catch (error) {
    if (isProxyError(error, 'STORE_ABSENT')) return undefined;
    throw error;
  }
  try {
    return Named.parse(JSON.parse(Buffer.from(bytes).toString('utf8'))).store;
  } catch {
    throw new ProxyError('STORE_CORRUPT', `${key} in ${store.url} cannot be read`);
  }
}
