import { expect, test } from 'vitest';
import { callerKey, pathWithoutKeys } from '../../src/intake/caller-key.ts';

test.each([
  ['/v1/input/secret?api_key=other', { 'dd-api-key': 'third' }, 'secret'],
  ['/v1/input/se%20cret', {}, 'se cret'],
  ['/v1/input/50%', {}, '50%'],
  ['/v1/input/%zz', {}, '%zz'],
  ['/api/v2/logs?dd-api-key=of-query', { 'dd-api-key': 'of-header' }, 'of-query'],
  ['/api/v2/logs?api_key=', { 'dd-api-key': ' of-header ' }, 'of-header'],
  ['/api/v2/logs', {}, ''],
])('the key of %s', (url, headers, key) => {
  expect(callerKey(url, headers)).toBe(key);
});

test.each([
  ['/v1/input/secret?ddsource=a%20b&api_key=x&service=web', '/v1/input?ddsource=a%20b&service=web'],
  ['/v1/input/50%?x', '/v1/input?x'],
  ['/api/v2/logs?DD-API-KEY=x', '/api/v2/logs'],
  ['/api/v2/logs?api%5fkey=x&%zz=1', '/api/v2/logs?%zz=1'],
])('what is kept of %s', (url, kept) => {
  expect(pathWithoutKeys(url)).toBe(kept);
});
