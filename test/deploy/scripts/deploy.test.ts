/**
 * deploy.sh with stand-ins for docker, kubectl, helm and systemctl that write down their calls, over the real manifests, and a real replica that is
 * waited for and verified: what is called in which order, what refuses before anything changes, what comes up wrong.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { metricOf } from '../../support/proxy-process.ts';
import { temporaryFolder } from '../../support/temp-folder.ts';
import { NOWHERE, type StandIns, script, standIns, startReplica, VERSION } from '../support/scripts.ts';
import { DEPLOY, TOOLS_FOLDER } from '../support/tools.ts';

/** A program that fails where its arguments hold one of these words. */
const failing = (...words: string[]): string =>
  words.map((word) => `case " $* " in *" ${word} "*) exit 9 ;; esac`).join('\n');

interface Try extends StandIns {
  deploy(...args: string[]): ReturnType<typeof script>;
}

async function withTools(lines: Readonly<Record<string, string>> = {}): Promise<Try> {
  const tools = await standIns(
    {
      docker: '',
      helm: '',
      systemctl: '',
      kubectl: `[ $1 != kustomize ] || exec "${TOOLS_FOLDER}/bin/kustomize" build "$2"`,
      ...lines,
    },
    '$REDUCTRAI_VERSION',
  );
  return { ...tools, deploy: (...args) => script('deploy', args, { env: tools.env }) };
}

test('each kind: looked at, applied, waited for, verified; a dry run only looks', async () => {
  const { url, proxy } = await startReplica('a');
  const overlay = join(DEPLOY, 'kubernetes/overlays/s3-irsa');
  const compose = `docker compose -f ${DEPLOY}/scripts/../compose/compose.ha.yml`;
  const stack = `${DEPLOY}/scripts/../swarm/stack.yml`;
  const chart = `${DEPLOY}/scripts/../helm/reductrai-proxy`;
  const v = VERSION;
  for (const [args, looks, changes] of [
    [['--with', 'compose'], [`${compose} config --quiet`], [`${compose} up --detach --wait --wait-timeout 300`]],
    [
      ['--with', 'swarm', '--name', 'telemetry'],
      [`docker stack config --compose-file ${stack}`],
      [`docker stack deploy --compose-file ${stack} --with-registry-auth telemetry`],
    ],
    [
      ['--with', 'kubernetes', '--overlay', overlay],
      [`kubectl kustomize ${overlay}`, 'kubectl apply --filename - --dry-run=client'],
      [
        'kubectl apply --filename -',
        'kubectl --namespace reductrai rollout status deployment/reductrai-proxy --timeout 300s',
      ],
    ],
    [
      ['--with', 'helm', '--namespace', 'telemetry'],
      [`helm lint --strict ${chart}`],
      [
        `helm upgrade --install reductrai ${chart} --namespace telemetry --create-namespace --set image.tag=${v} --atomic --timeout 300s`,
      ],
    ],
  ] as const) {
    const { deploy, calls } = await withTools();
    const before = await metricOf(proxy, 'envelopes_accepted_total');
    const dry = await deploy(...args, '--url', url, '--version', v, '--dry-run');
    expect([dry.code, await calls()], dry.output).toEqual([0, looks.map((call) => `${v} ${call}`)]);
    for (const change of changes)
      expect(dry.stdout).toContain(`would run: ${change.replaceAll('--filename -', '--filename -')}`);
    expect(await metricOf(proxy, 'envelopes_accepted_total')).toBe(before);
    const { code, output, stdout } = await deploy(...args, '--url', url, '--version', v);
    expect(code, output).toBe(0);
    expect((await calls()).slice(looks.length)).toEqual([...looks, ...changes].map((call) => `${v} ${call}`));
    expect(stdout).toMatch(/1 of 1 healthy\n.*ok {6}a log is accepted.*all is well\n$/s);
  }
}, 180_000);

test('the image of that version is what Kubernetes gets, in one apply; a StatefulSet is waited for as one', async () => {
  const applied = join(await temporaryFolder(), 'applied');
  const kubectl = `[ $1 != kustomize ] || exec "${TOOLS_FOLDER}/bin/kustomize" build "$2"\n[ $1 != apply ] || cat >"${applied}"`;
  const { deploy, calls } = await withTools({ kubectl });
  const { url } = await startReplica('a');
  const overlay = join(DEPLOY, 'kubernetes/overlays/local');
  const { code, output } = await deploy(
    '--with',
    'kubernetes',
    '--overlay',
    overlay,
    '--url',
    url,
    '--version',
    VERSION,
    '--no-verify',
  );
  expect(code, output).toBe(0);
  const images = (await readFile(applied, 'utf8')).match(/image: .*$/gm);
  expect(new Set(images)).toEqual(new Set([`image: reductrai/proxy:${VERSION}`]));
  expect((await calls()).at(-1)).toContain('rollout status statefulset/reductrai-proxy');
}, 60_000);

test('systemd: unit and settings in place, restarted; the second time only restarted', async () => {
  const root = await temporaryFolder();
  const { url } = await startReplica('a');
  const { deploy, calls } = await withTools();
  const env = join(DEPLOY, 'systemd/proxy.env.example');
  const args = ['--with', 'systemd', '--root', root, '--env-file', env, '--url', url, '--no-verify'];
  const dry = await deploy(...args, '--dry-run');
  expect([dry.code, await calls()], dry.output).toEqual([0, []]);
  for (const reloads of [1, 1]) {
    const { code, output } = await deploy(...args);
    expect(code, output).toBe(0);
    expect((await calls()).filter((call) => call.endsWith('daemon-reload'))).toHaveLength(reloads);
    expect((await calls()).at(-1)).toBe(' systemctl restart reductrai-proxy.service');
  }
  const placed = (name: string) => readFile(join(root, 'etc', name), 'utf8');
  expect(await placed('systemd/system/reductrai-proxy.service')).toBe(
    await readFile(join(DEPLOY, 'systemd/reductrai-proxy.service'), 'utf8'),
  );
  expect(await placed('reductrai/proxy.env')).toBe(await readFile(env, 'utf8'));
}, 60_000);

test('what has problems changes nothing; what does not get healthy or cannot be verified is told', async () => {
  const settings = join(await temporaryFolder(), 'proxy.env');
  await writeFile(settings, '# ours\nSTORAGE_URL=s3://bucket/prefix\nDURABILITY=stored\n');
  const { url } = await startReplica('a', { API_KEYS_ALLOWED: 'one' });
  const { deploy, calls } = await withTools({
    docker: failing('config'),
    helm: failing('lint'),
    kubectl: failing('--dry-run=client', 'kustomize'),
  });
  const misspelt = await deploy('--with', 'compose', '--env-file', settings, '--url', url);
  expect([misspelt.code, misspelt.output, await calls()]).toEqual([
    1,
    expect.stringMatching(/nothing was changed.*DURABILITY/s),
    [],
  ]);
  for (const args of [['compose'], ['swarm'], ['helm'], ['kubernetes', '--overlay', DEPLOY]]) {
    const { code, output } = await deploy('--with', ...args, '--url', url);
    expect([code, output], args[0]).toEqual([1, expect.stringContaining('nothing was changed')]);
  }
  expect((await calls()).filter((call) => /deploy --compose| up |upgrade|apply --filename -$/.test(call))).toEqual([]);
  expect((await deploy('--with', 'wishes', '--url', url)).code).toBe(64);

  const working = await withTools();
  for (const [args, says] of [
    [['--url', NOWHERE], 'not healthy after 1 s'],
    [['--url', url, '--version', '9.9.9'], 'not healthy after 1 s'],
    [['--url', url], 'status 403'],
  ] as const) {
    const { code, output } = await working.deploy('--with', 'compose', '--deadline', '1', ...args);
    expect([code, output]).toEqual([2, expect.stringContaining(says)]);
  }
  // What the tool itself says is not hidden.
  const broken = await withTools({ docker: failing('up') });
  expect((await broken.deploy('--with', 'compose', '--url', url)).code).toBe(9);
}, 120_000);
