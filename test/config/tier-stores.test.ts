import { describe, expect, it } from 'vitest';
import { loadSettings } from '../../src/config/load.ts';
import { tierStoreSettingsOf } from '../../src/config/tier-stores.ts';

function load(env: Record<string, string>) {
  return loadSettings({ env, readText: () => '', hostname: 'h', cpuCount: 2 });
}

function targetsOf(env: Record<string, string>): Record<string, unknown> {
  const loaded = load(env);
  if (!loaded.ok) throw new Error(loaded.problems.join());
  return Object.fromEntries([...tierStoreSettingsOf(loaded.settings)].map(([tier, { target }]) => [tier, target]));
}

describe('stores of tiers', () => {
  it('there are none unless something says so', () => {
    expect(targetsOf({})).toEqual({});
    expect(targetsOf({ STORAGE_URL: 's3://b/p' })).toEqual({});
    expect(targetsOf({ STORAGE_COLD_TYPE: 's3', S3_BUCKET: 'b' })).toEqual({});
    expect(
      targetsOf({ STORAGE_HOT_TYPE: 's3', STORAGE_WARM_TYPE: 's3', STORAGE_COLD_TYPE: 's3', S3_BUCKET: 'b' }),
    ).toEqual({});
    expect(targetsOf({ STORAGE_URL: '/kept', STORAGE_COLD_URL: 'file:///kept' })).toEqual({});
  });

  it('folders beside the main folder', () => {
    expect(
      targetsOf({ STORAGE_HOT_PATH: '/d/hot', STORAGE_WARM_PATH: '/d/warm', STORAGE_COLD_PATH: '/d/cold' }),
    ).toEqual({
      warm: { kind: 'local', root: '/d/warm', prefix: '' },
      cold: { kind: 'local', root: '/d/cold', prefix: '' },
    });
  });

  it('a bucket behind a folder, and another cloud behind a bucket', () => {
    const behind = targetsOf({ STORAGE_HOT_PATH: '/d/hot', STORAGE_COLD_TYPE: 's3', S3_BUCKET: 'b', S3_PREFIX: 'p' });
    expect(behind).toMatchObject({ cold: { kind: 's3', bucket: 'b', prefix: 'p' } });
    const other = { STORAGE_HOT_TYPE: 's3', S3_BUCKET: 'b', STORAGE_COLD_TYPE: 'gcs', GCS_BUCKET: 'g' };
    expect(targetsOf(other)).toMatchObject({ cold: { kind: 'gcs', bucket: 'g' } });
    const url = { STORAGE_URL: 's3://b/p', STORAGE_COLD_URL: 's3://colder/p?region=eu-west-1' };
    expect(targetsOf(url)).toMatchObject({ cold: { kind: 's3', bucket: 'colder', region: 'eu-west-1' } });
  });

  it('a tier that is not kept has none, and does not take the hot one with it', () => {
    expect(targetsOf({ STORAGE_HOT_PATH: '/d', STORAGE_COLD_ENABLED: 'false', STORAGE_COLD_TYPE: 's3' })).toEqual({});
    expect(targetsOf({ STORAGE_COLD_ENABLED: 'false', STORAGE_COLD_TYPE: 's3' })).toEqual({});
  });

  it("refuses a folder in another's, and a bucket without a name", () => {
    expect(load({ STORAGE_HOT_PATH: '/d', STORAGE_COLD_PATH: '/d/cold' })).toMatchObject({
      ok: false,
      problems: ['STORE_INVALID: the folder of one tier lies in that of another: /d/cold in /d'],
    });
    expect(load({ STORAGE_HOT_PATH: '/d', STORAGE_COLD_TYPE: 'gcs' })).toMatchObject({ ok: false });
  });

  it('tells that a folder means nothing behind a bucket', () => {
    const loaded = load({ STORAGE_URL: 's3://b', STORAGE_COLD_PATH: '/cold' });
    expect(loaded).toMatchObject({ ok: true, warnings: [expect.stringContaining('STORAGE_COLD_PATH: not used')] });
  });
});
