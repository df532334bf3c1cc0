/**
 * Follows the Dockerfile without Docker and without a network, into a plain folder as the image's root. Its base is Debian's packages and the
 * pinned Node instead of node:24-bookworm-slim (test/deploy/tools/install.sh); what is compiled before (`npm ci`) is what this project has
 * installed. Everything else is done as it is written there: an instruction that this file does not know is an error.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, matchesGlob, relative } from 'node:path';
import { PROJECT } from '../../support/proxy-process.ts';
import { installed, TOOLS_FOLDER } from '../support/tools.ts';
import { execForm, type Instruction, pairsOf, type Stage, stagesOf } from './dockerfile.ts';

export interface Image {
  root: string;
  env: Record<string, string>;
  labels: Record<string, string>;
  user: { uid: number; gid: number };
  workdir: string;
  volumes: string[];
  stopSignal: string;
  entrypoint: string[];
  cmd: string[];
  healthcheck: string[];
}

const BASE = 'node:24-bookworm-slim';
/** Of the base image. */
const BASE_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const NODE = join(PROJECT, 'node_modules', 'node', 'bin', 'node');

export function run(command: readonly string[], options: { cwd?: string; env?: Record<string, string> } = {}): string {
  const { status, stdout, stderr, error } = spawnSync(command[0]!, command.slice(1), {
    encoding: 'utf8',
    ...options,
    ...(options.env ? { env: options.env } : {}),
  });
  if (status !== 0) throw new Error(`${command.join(' ')}: ${error ?? ''}${stdout}${stderr}`);
  return stdout;
}

/** `folder` must be on the disk of the project: node_modules is linked into it, not copied. */
export function buildImage(folder: string): Image {
  const stages = stagesOf(readFileSync(join(PROJECT, 'Dockerfile'), 'utf8'));
  if (stages.length !== 2) throw new Error(`two stages were expected, not ${stages.length}`);
  const [first, last] = stages as [Stage, Stage];
  for (const { from } of stages)
    if (from !== BASE) throw new Error(`FROM ${from}: only ${BASE} can be put together here`);
  const built = join(folder, 'build');
  followBuildStage(first, built);
  return followLastStage(last, { root: join(folder, 'root'), stages: { [first.as!]: built } });
}

/** Its root is not made: the programs of this machine do its work, in the folder that stands for `/`. */
function followBuildStage({ instructions }: Stage, root: string): void {
  let workdir = '/';
  for (const { name, text } of instructions) {
    const at = join(root, workdir);
    if (name === 'WORKDIR') {
      workdir = text;
      mkdirSync(join(root, workdir), { recursive: true });
    } else if (name === 'COPY') copyFromContext(text, at);
    else if (name !== 'RUN') throw new Error(`build stage: ${name} is not followed`);
    else if (/^apt-get update && apt-get install [\w\s+.-]+ && rm -rf \/var\/lib\/apt\/lists\/\*$/.test(text)) {
      // Python, make and g++: for `npm ci` only.
    } else if (/^npm ci( --no-\w+)*$/.test(text)) {
      run(['cp', '-al', join(PROJECT, 'node_modules'), join(at, 'node_modules')]);
    } else {
      const env = { PATH: `${at}/node_modules/.bin:${process.env.PATH}`, HOME: root, npm_config_offline: 'true' };
      run(['sh', '-euc', text], { cwd: at, env });
    }
  }
}

function copyFromContext(text: string, to: string): void {
  const words = text.split(/\s+/);
  const ignored = readFileSync(join(PROJECT, '.dockerignore'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  const isWanted = (path: string): boolean => !ignored.some((pattern) => matchesGlob(relative(PROJECT, path), pattern));
  for (const source of words.slice(0, -1)) {
    for (const entry of source === '.' ? readdirSync(PROJECT) : [source]) {
      const path = join(PROJECT, entry);
      if (isWanted(path)) cpSync(path, join(to, entry), { recursive: true, filter: isWanted });
    }
  }
}

function makeBase(root: string): void {
  mkdirSync(root, { recursive: true });
  run(['tar', '-xf', installed(join(TOOLS_FOLDER, 'image', 'base.tar')), '-C', root]);
  // As the base image does.
  run(['chroot', root, 'groupadd', '--gid', '1000', 'node']);
  run(['chroot', root, 'useradd', '--uid', '1000', '--gid', 'node', '--shell', '/bin/bash', '--create-home', 'node']);
  cpSync(NODE, join(root, 'usr/local/bin/node'), { dereference: true });
}

/** As it is written; apt finds the packages in a folder instead of the network. */
function runInside(root: string, script: string): void {
  const sources = join(root, 'etc/apt/sources.list');
  const before = existsSync(sources) ? readFileSync(sources) : undefined;
  const unused = join(root, 'etc/apt/sources.list.d');
  run(['mv', unused, `${unused}.away`]);
  writeFileSync(sources, 'deb [trusted=yes] file:/packages ./\n');
  const env = { PATH: BASE_PATH, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' };
  try {
    run(['chroot', root, '/bin/sh', '-euc', script], { env });
  } catch (error) {
    throw new Error(`RUN failed; are its packages those of test/deploy/tools/install.sh? ${(error as Error).message}`);
  }
  rmSync(sources);
  if (before) writeFileSync(sources, before);
  run(['mv', `${unused}.away`, unused]);
  rmSync(join(root, 'packages'), { recursive: true });
}

function followLastStage(
  { instructions }: Stage,
  { root, stages }: { root: string; stages: Record<string, string> },
): Image {
  makeBase(root);
  const args: Record<string, string> = {};
  const image: Image = {
    root,
    env: { PATH: BASE_PATH },
    labels: {},
    user: { uid: 0, gid: 0 },
    workdir: '/',
    volumes: [],
    stopSignal: 'SIGTERM',
    entrypoint: [],
    cmd: [],
    healthcheck: [],
  };
  const follow: Record<string, (text: string) => void> = {
    ARG: (text) => Object.assign(args, pairsOf(text, {})),
    LABEL: (text) => Object.assign(image.labels, pairsOf(text, args)),
    RUN: (text) => runInside(root, text),
    WORKDIR: (text) => {
      image.workdir = text;
      mkdirSync(join(root, text), { recursive: true });
    },
    COPY: (text) => {
      const [, stage, from, to] = /^(?:--from=(\w+) )?(\S+) (\S+)$/.exec(text) ?? [];
      if (from === undefined || to === undefined) throw new Error(`COPY ${text} is not followed`);
      const source = stage === undefined ? join(PROJECT, from) : join(stages[stage] ?? '/absent', from);
      run(['cp', '-RT', '--preserve=mode', source, join(root, image.workdir, to, stage === undefined ? from : '')]);
    },
    ENV: (text) => Object.assign(image.env, pairsOf(text, image.env)),
    USER: (text) => {
      const [uid, gid] = text.split(':').map(Number);
      image.user = { uid: uid!, gid: gid! };
    },
    VOLUME: (text) => image.volumes.push(text),
    EXPOSE: () => {},
    STOPSIGNAL: (text) => {
      image.stopSignal = text;
    },
    HEALTHCHECK: (text) => {
      image.healthcheck = execForm(text.replace(/^(?:--[\w-]+=\S+ )*\s*CMD /, ''));
    },
    ENTRYPOINT: (text) => {
      image.entrypoint = execForm(text);
    },
    CMD: (text) => {
      image.cmd = execForm(text);
    },
  };
  for (const { name, text } of instructions satisfies Instruction[]) {
    const step = follow[name];
    if (!step) throw new Error(`${name} is not followed`);
    step(text);
  }
  return image;
}
