/**
 * Does this store do what the product needs of it? Each step uses one permission on one small object, so that a failure names what
 * is missing. Leaves nothing behind as long as deleting works.
 */
import { isProxyError, messageOf, ProxyError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import type { ObjectStore } from './object-store.ts';
import type { StoreTarget } from './store-url.ts';

export interface CheckedStep {
  step: string;
  outcome: 'ok' | 'failed' | 'skipped';
  /** What went wrong, and what would mend it. */
  reason?: string;
}

type Permission = 'write' | 'read' | 'list' | 'order' | 'delete' | 'conditions';

const PERMISSIONS: Record<StoreTarget['kind'], Record<Permission, string>> = {
  memory: { write: '', read: '', list: '', order: '', delete: '', conditions: '' },
  local: {
    write: 'the right to write into the folder',
    read: 'the right to read the folder',
    list: 'the right to list the folder',
    order: 'a folder that only this product writes to',
    delete: 'the right to write into the folder',
    conditions: 'a file system with hard links',
  },
  s3: {
    write: 's3:PutObject on the prefix (with KMS also kms:GenerateDataKey)',
    read: 's3:GetObject on the prefix (with KMS also kms:Decrypt)',
    list: 's3:ListBucket on the bucket',
    order: 'a server that lists in the byte order of keys, as S3 does',
    delete: 's3:DeleteObject on the prefix',
    conditions: 'a server that honours If-None-Match and If-Match on PutObject',
  },
  gcs: {
    write: 'storage.objects.create',
    read: 'storage.objects.get',
    list: 'storage.objects.list',
    order: 'Google Cloud Storage itself, or a server that lists as it does',
    delete: 'storage.objects.delete',
    conditions: 'storage.objects.delete (replacing needs it too)',
  },
  azure: {
    write: 'the data action …/blobs/write (role Storage Blob Data Contributor)',
    read: 'the data action …/blobs/read',
    list: 'the data action …/blobs/read on the container',
    order: 'Azure itself, or a server that lists as it does',
    delete: 'the data action …/blobs/delete',
    conditions: 'a service version with conditional headers',
  },
};

/**
 * Does the store refuse to create what is there? Coordination rests on it. STORE_INVALID when it does not; other errors as the
 * store's, and they say nothing about it.
 */
export async function checkConditions(store: ObjectStore, random: Random): Promise<void> {
  const name = Buffer.from(random.bytes(8)).toString('hex');
  const key = `checks/${name}`;
  const absent = { condition: { kind: 'absent' } } as const;
  await store.put(key, Buffer.from(name), absent);
  try {
    // Other bytes: a repetition of our own write would be no conflict.
    await store.put(key, Buffer.from(`${name} again`), absent);
  } catch (error) {
    if (isProxyError(error, 'STORE_EXISTS')) return;
    throw error;
  } finally {
    await store.delete(key);
  }
  throw new ProxyError(
    'STORE_INVALID',
    `${store.url} does not honour conditional writes (it let an object be created twice): replicas would overwrite each other`,
  );
}

const ORDER_STEP = 'list in the order of keys';

export async function checkStore(
  store: ObjectStore,
  kind: StoreTarget['kind'],
  random: Random,
): Promise<CheckedStep[]> {
  const name = Buffer.from(random.bytes(8)).toString('hex');
  const key = `checks/${name}`;
  const first = Buffer.from(`reductrai check-config ${name}\n`);
  const second = Buffer.from(`reductrai check-config ${name}, replaced\n`);
  const steps: CheckedStep[] = [];
  let hasObject = false;
  let version = '';

  const run = async (step: string, permission: Permission, act: () => Promise<void>, needsObject = true) => {
    if (needsObject && !hasObject) {
      steps.push({ step, outcome: 'skipped' });
      return;
    }
    try {
      await act();
      steps.push({ step, outcome: 'ok' });
    } catch (error) {
      const needs = PERMISSIONS[kind][permission];
      const isRight = isProxyError(error, 'STORE_DENIED') || isProxyError(error, 'STORE_INVALID');
      steps.push({ step, outcome: 'failed', reason: `${messageOf(error)}${isRight ? `; needed: ${needs}` : ''}` });
    }
  };
  const mustConflict = async (act: () => Promise<unknown>, what: string): Promise<void> => {
    try {
      await act();
    } catch (error) {
      if (isProxyError(error, 'STORE_EXISTS')) return;
      throw error;
    }
    throw new ProxyError('STORE_INVALID', `the store does not honour conditional writes: ${what}`);
  };

  await run(
    'create an object',
    'write',
    async () => {
      version = (await store.put(key, first, { condition: { kind: 'absent' } })).version;
      hasObject = true;
    },
    false,
  );
  await run('read it back', 'read', async () => {
    const { bytes } = await store.get(key);
    if (Buffer.compare(bytes, first) !== 0) throw new ProxyError('STORE_CORRUPT', 'it reads back differently');
    const part = await store.get(key, { offset: 10, length: 5 });
    if (Buffer.compare(part.bytes, first.subarray(10, 15)) !== 0) {
      throw new ProxyError('STORE_CORRUPT', 'a range of it reads back differently');
    }
  });
  await run('refuse to create it twice', 'conditions', () =>
    mustConflict(() => store.put(key, second, { condition: { kind: 'absent' } }), 'it let an object be created twice'),
  );
  await run('replace it while unchanged', 'conditions', async () => {
    const stale = version;
    version = (await store.put(key, second, { condition: { kind: 'unchanged', version } })).version;
    await mustConflict(
      () => store.put(key, first, { condition: { kind: 'unchanged', version: stale } }),
      'it let an object be replaced that had changed',
    );
  });
  await run('list it', 'list', async () => {
    for await (const info of store.list('checks/')) if (info.key === key) return;
    throw new ProxyError('STORE_INVALID', 'the listing does not show it');
  });
  await run('delete it', 'delete', async () => {
    await store.delete(key);
    if (await store.head(key)) throw new ProxyError('STORE_INVALID', 'it is still there');
  });
  if (steps.some(({ outcome }) => outcome !== 'ok')) {
    steps.push({ step: ORDER_STEP, outcome: 'skipped' });
    return steps;
  }
  await run(ORDER_STEP, 'order', async () => {
    // Of servers that keep folders some list `b/` before `b-/`; resumed listings then leave objects out.
    const inOrder = ['b-/x', 'b/x', 'b0'].map((part) => `${key}.order/${part}`);
    try {
      for (const one of inOrder) await store.put(one, first);
      const listed: string[] = [];
      for await (const info of store.list(`${key}.order/`)) listed.push(info.key);
      if (listed.join() !== inOrder.join()) {
        throw new ProxyError('STORE_INVALID', 'it lists folder by folder, not in the order of whole keys');
      }
    } finally {
      for (const one of inOrder) await store.delete(one);
    }
  });
  return steps;
}
