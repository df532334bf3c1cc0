import { describe, expect, it } from 'vitest';
import { parseStoreUrl, urlOf } from '../../src/store/store-url.ts';

describe('store URLs', () => {
  it('reads every form', () => {
    expect(parseStoreUrl('/var/data')).toEqual({ kind: 'local', root: '/var/data', prefix: '' });
    expect(parseStoreUrl('file:///var/da%20ta')).toEqual({ kind: 'local', root: '/var/da ta', prefix: '' });
    expect(parseStoreUrl('memory:')).toEqual({ kind: 'memory', prefix: '' });
    expect(parseStoreUrl('s3://b')).toEqual({ kind: 's3', bucket: 'b', prefix: '' });
    expect(
      parseStoreUrl(
        's3://my.bucket/team/a?region=eu-west-1&endpoint=http://minio:9000&path_style=true&storage_class=GLACIER_IR&sse=s3',
      ),
    ).toEqual({
      kind: 's3',
      bucket: 'my.bucket',
      prefix: 'team/a',
      region: 'eu-west-1',
      endpoint: 'http://minio:9000',
      pathStyle: true,
      storageClass: 'GLACIER_IR',
      encryption: 's3',
    });
    expect(parseStoreUrl('s3://b/?kms_key_id=arn:aws:kms:eu-west-1:1:key/k')).toEqual({
      kind: 's3',
      bucket: 'b',
      prefix: '',
      encryption: 'kms',
      kmsKeyId: 'arn:aws:kms:eu-west-1:1:key/k',
    });
    expect(parseStoreUrl('gs://b/p/?storage_class=COLDLINE&kms_key=projects/p/k')).toEqual({
      kind: 'gcs',
      bucket: 'b',
      prefix: 'p',
      storageClass: 'COLDLINE',
      kmsKeyName: 'projects/p/k',
    });
    expect(parseStoreUrl('azblob://acct/box/p/q?access_tier=Cool&encryption_scope=s')).toEqual({
      kind: 'azure',
      account: 'acct',
      container: 'box',
      prefix: 'p/q',
      accessTier: 'Cool',
      encryptionScope: 's',
    });
  });

  it.each([
    ['ftp://host/x', /no store for 'ftp:'/],
    ['s3://', /names no bucket/],
    ['s3://b?regoin=x', /unknown option regoin; known are region/],
    ['s3://key:secret@b', /credentials do not belong/],
    ['s3://b?sse=yes', /sse is s3 or kms/],
    ['s3://b?path_style=1', /path_style is true or false/],
    ['s3://b?endpoint=minio:9000', /endpoint is no http/],
    ['s3://b/a%2F..%2Fb', /prefix/],
    ['gs://b?region=x', /unknown option region/],
    ['azblob://account', /azblob:\/\/account\/container/],
    ['file://host/x', /three slashes/],
  ])('refuses %s', (url, reason) => {
    expect(() => parseStoreUrl(url)).toThrow(reason);
    expect(() => parseStoreUrl(url)).toThrow(expect.objectContaining({ code: 'STORE_INVALID' }));
  });

  it('names a store without what is in its options', () => {
    for (const url of ['s3://b/p', 'gs://b', 'azblob://a/c/p', 'memory:', '/data']) {
      expect(urlOf(parseStoreUrl(url))).toBe(url);
    }
    expect(urlOf(parseStoreUrl('s3://b/p?region=x'))).toBe('s3://b/p');
  });
});
