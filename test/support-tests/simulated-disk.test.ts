import { describe, expect, it } from 'vitest';
import type { FileSystem } from '../../src/core/file-system.ts';
import { seededRandom } from '../../src/core/random.ts';
import { createSimulatedDisk } from '../support/simulated-disk.ts';

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array | undefined): string | undefined =>
  bytes === undefined ? undefined : new TextDecoder().decode(bytes);

async function write(fs: FileSystem, path: string, bytes: Uint8Array, sync: boolean): Promise<void> {
  const file = await fs.open(path, 'write-or-create');
  await file.write([bytes], 0);
  if (sync) await file.sync();
  await file.close();
}

/** Outcomes over many seeds of one history that ends in a crash. */
async function outcomes(
  seeds: number,
  history: (fs: FileSystem) => Promise<void>,
  look: (content: (path: string) => string | undefined) => string,
): Promise<Set<string>> {
  const found = new Set<string>();
  for (let seed = 0; seed < seeds; seed++) {
    const disk = createSimulatedDisk(seededRandom(seed));
    await history(disk.fileSystem);
    disk.crash();
    disk.reopen();
    found.add(look((path) => textOf(disk.contentOf(path))));
  }
  return found;
}

describe('simulated disk', () => {
  it('behaves as a file system: reads back, links, renames, lists, reports Node codes', async () => {
    const disk = createSimulatedDisk(seededRandom(1));
    const fs = disk.fileSystem;
    await fs.makeDirectory('/data/a/b');
    await write(fs, '/data/a/b/x', bytesOf('hello'), false);
    await fs.link('/data/a/b/x', '/data/a/y');
    await expect(fs.link('/data/a/b/x', '/data/a/y')).rejects.toMatchObject({ code: 'EEXIST' });
    await expect(fs.open('/data/none', 'read')).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(fs.open('/data/a/y', 'create')).rejects.toMatchObject({ code: 'EEXIST' });
    expect((await fs.stat('/data/a/y'))?.linkCount).toBe(2);
    await fs.unlink('/data/a/b/x');
    await fs.rename('/data/a/y', '/data/a/b/z');
    expect(await fs.list('/data/a')).toEqual(['b']);
    expect(await fs.list('/data/none')).toEqual([]);
    expect(textOf(disk.contentOf('/data/a/b/z'))).toBe('hello');
    expect(await fs.stat('/data/a/b/z')).toMatchObject({ sizeBytes: 5, isDirectory: false, linkCount: 1 });
    const file = await fs.open('/data/a/b/z', 'read');
    const target = new Uint8Array(10);
    expect(await file.read(target, 3)).toBe(2);
    await expect(file.write([bytesOf('no')], 0)).rejects.toMatchObject({ code: 'EBADF' });
  });

  it('keeps synced content with a synced entry through every crash', async () => {
    const found = await outcomes(
      200,
      async (fs) => {
        await write(fs, '/data/x', bytesOf('kept'), true);
        await fs.syncDirectory('/data');
      },
      (content) => String(content('/data/x')),
    );
    expect([...found]).toEqual(['kept']);
  });

  it('may lose an entry whose folder was not synced, and content that was not synced', async () => {
    const entryLost = await outcomes(
      100,
      (fs) => write(fs, '/data/x', bytesOf('kept'), true),
      (content) => String(content('/data/x')),
    );
    expect(entryLost).toEqual(new Set(['kept', 'undefined']));
    const contentLost = await outcomes(
      200,
      async (fs) => {
        await write(fs, '/data/x', bytesOf('kept'), false);
        await fs.syncDirectory('/data');
      },
      (content) => String(content('/data/x')),
    );
    // Writes go in two steps, so a prefix may have reached the disk; the size may have come without the data.
    for (const text of contentLost) expect(text).toMatch(/^(k|ke|kep|kept)?\0*$/);
    for (const text of ['kept', '', '\0\0\0\0']) expect(contentLost).toContain(text);
  });

  it('loses a whole folder whose own entry was not synced', async () => {
    const found = await outcomes(
      100,
      async (fs) => {
        await fs.makeDirectory('/data/deep');
        await write(fs, '/data/deep/x', bytesOf('x'), true);
        await fs.syncDirectory('/data/deep');
      },
      (content) => String(content('/data/deep/x')),
    );
    expect(found).toEqual(new Set(['x', 'undefined']));
  });

  it('tears writes at sectors and applies them out of order', async () => {
    const old = 'o'.repeat(1024);
    const found = await outcomes(
      300,
      async (fs) => {
        await write(fs, '/data/x', bytesOf(old), true);
        await fs.syncDirectory('/data');
        const file = await fs.open('/data/x', 'write');
        await file.write([bytesOf('n'.repeat(1024))], 0);
      },
      (content) => {
        const text = content('/data/x')!;
        return `${text[0]}${text[511]}${text[512]}${text[1023]}`;
      },
    );
    expect(found).toContain('oooo');
    expect(found).toContain('nnnn');
    expect(found).toContain('nnoo');
    expect(found).toContain('oonn');
  });

  it('renames atomically: old or new, and nothing in between', async () => {
    const found = await outcomes(
      200,
      async (fs) => {
        await write(fs, '/data/x', bytesOf('old'), true);
        await write(fs, '/data/t', bytesOf('new'), true);
        await fs.syncDirectory('/data');
        await fs.rename('/data/t', '/data/x');
      },
      (content) => `${content('/data/x')} ${content('/data/t')}`,
    );
    expect(found).toEqual(new Set(['old new', 'new undefined']));
  });

  it('never loses the node when a rename crosses folders', async () => {
    const found = await outcomes(
      300,
      async (fs) => {
        await fs.makeDirectory('/data/b');
        await write(fs, '/data/x', bytesOf('x'), true);
        await fs.syncDirectory('/data');
        await fs.rename('/data/x', '/data/b/x');
      },
      (content) => `${content('/data/x')} ${content('/data/b/x')}`,
    );
    expect(found).not.toContain('undefined undefined');
    expect(found).toContain('undefined x');
    expect(found).toContain('x undefined');
  });

  it('lets a later unlink survive without an earlier one', async () => {
    const found = await outcomes(
      200,
      async (fs) => {
        for (const name of ['a', 'b']) await write(fs, `/data/${name}`, bytesOf(name), true);
        await fs.syncDirectory('/data');
        await fs.unlink('/data/a');
        await fs.unlink('/data/b');
      },
      (content) => `${content('/data/a')} ${content('/data/b')}`,
    );
    expect(found).toEqual(new Set(['a b', 'undefined b', 'a undefined', 'undefined undefined']));
  });

  it('a failed sync leaves data that a later sync does not save', async () => {
    const found = new Set<string>();
    for (let seed = 0; seed < 100; seed++) {
      const disk = createSimulatedDisk(seededRandom(seed));
      const fs = disk.fileSystem;
      await write(fs, '/data/x', bytesOf(''), true);
      await fs.syncDirectory('/data');
      const file = await fs.open('/data/x', 'write');
      await file.write([bytesOf('lost?')], 0);
      disk.failNext('sync', 'EIO');
      await expect(file.sync()).rejects.toMatchObject({ code: 'EIO' });
      await file.sync();
      expect(textOf(disk.contentOf('/data/x'))).toBe('lost?');
      disk.crash('keep');
      found.add(String(textOf(disk.contentOf('/data/x'))));
    }
    expect(found).toContain('');
    expect(found).toContain('lost?');
  });

  it('a kill loses nothing, but a crash after it still may', async () => {
    const found = new Set<string>();
    for (let seed = 0; seed < 60; seed++) {
      const disk = createSimulatedDisk(seededRandom(seed));
      await write(disk.fileSystem, '/data/x', bytesOf('x'), false);
      disk.kill();
      disk.reopen();
      expect(textOf(disk.contentOf('/data/x'))).toBe('x');
      disk.crash();
      found.add(String(textOf(disk.contentOf('/data/x'))));
    }
    expect(found).toEqual(new Set(['undefined', '', '\0', 'x']));
  });

  it('a sync covers what was written before it, not after', async () => {
    let lost = 0;
    for (let seed = 0; seed < 60; seed++) {
      const disk = createSimulatedDisk(seededRandom(seed));
      const file = await disk.fileSystem.open('/data/x', 'create');
      await disk.fileSystem.syncDirectory('/data');
      await file.write([bytesOf('aa')], 0);
      const syncs = [file.sync(), file.sync()];
      await file.write([bytesOf('bb')], 2);
      await Promise.all(syncs);
      disk.crash('lose');
      expect(textOf(disk.contentOf('/data/x'))).toBe('aa');
      lost++;
    }
    expect(lost).toBe(60);
  });

  it('stops at the n-th operation; the dead process can do nothing any more', async () => {
    const disk = createSimulatedDisk(seededRandom(3));
    const fs = disk.fileSystem;
    const file = await fs.open('/data/x', 'create');
    disk.stopAt(3, 'kill');
    const down = disk.whenDown();
    await file.write([bytesOf('abc')], 0); // two operations
    await expect(file.sync()).rejects.toThrow('simulated crash');
    await down;
    await expect(file.write([bytesOf('z')], 0)).rejects.toThrow('simulated crash');
    await expect(fs.list('/data')).rejects.toThrow('simulated crash');
    const next = disk.reopen();
    await expect(file.close()).rejects.toThrow('simulated crash');
    expect(await next.list('/data')).toEqual(['x']);
    expect(textOf(disk.contentOf('/data/x'))).toBe('abc');
  });

  it('runs out of space in the middle of a write, and deletion gives it back', async () => {
    const disk = createSimulatedDisk(seededRandom(4), { spaceBytes: 10 });
    const fs = disk.fileSystem;
    await expect(write(fs, '/data/x', bytesOf('0123456789ab'), false)).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(disk.usedBytes).toBe(10);
    disk.kill();
    const again = disk.reopen();
    await again.unlink('/data/x');
    expect(disk.usedBytes).toBe(0);
    await write(again, '/data/y', bytesOf('0123456789'), true);
  });

  it('fails on demand, before or after the effect', async () => {
    const disk = createSimulatedDisk(seededRandom(5));
    const fs = disk.fileSystem;
    await write(fs, '/data/x', bytesOf('x'), true);
    disk.failNext('link', 'EACCES');
    await expect(fs.link('/data/x', '/data/y')).rejects.toMatchObject({ code: 'EACCES' });
    expect(disk.files()).toEqual(['/data/x']);
    disk.failNext('link', 'EEXIST', { afterEffect: true, pathPart: 'y' });
    await expect(fs.link('/data/x', '/data/y')).rejects.toMatchObject({ code: 'EEXIST' });
    expect(disk.files()).toEqual(['/data/x', '/data/y']);
  });

  it('replays from a seed', async () => {
    const play = async (): Promise<string> => {
      const disk = createSimulatedDisk(seededRandom(9));
      const fs = disk.fileSystem;
      await Promise.all(
        ['a', 'b', 'c'].map((name) => write(fs, `/data/${name}`, bytesOf(name.repeat(2000)), name < 'c')),
      );
      disk.crash();
      return disk
        .files()
        .map((path) => `${path}:${Buffer.from(disk.contentOf(path)!).toString('base64')}`)
        .join('\n');
    };
    expect(await play()).toBe(await play());
  });
});
