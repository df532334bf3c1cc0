/** deploy/aws/alb.sh with a stand-in for the AWS CLI that remembers what it made: the calls, repeating, a dry run, wrong options. */
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../support/temp-folder.ts';
import { DEPLOY, run } from './support/tools.ts';

const SCRIPT = join(DEPLOY, 'aws/alb.sh');
const OPTIONS =
  '--vpc vpc-1 --subnets subnet-a,subnet-b --security-group sg-1 --certificate arn:cert --targets 10.0.1.5,10.0.2.5'.split(
    ' ',
  );

/** Writes down each call; what was created is found afterwards. */
const STAND_IN = `#!/usr/bin/env bash
echo "$*" >>"$STATE/calls"
case $2 in
  create-*) touch "$STATE/\${2#create-}" && echo "arn:\${2#create-}" ;;
  describe-target-groups) [ -e "$STATE/target-group" ] && echo arn:target-group || exit 254 ;;
  describe-load-balancers)
    [ -e "$STATE/load-balancer" ] || exit 254
    case $* in *DNSName*) echo lb.example.com ;; *) echo arn:load-balancer ;; esac ;;
  describe-listeners) [ -e "$STATE/listener" ] && echo arn:listener || echo None ;;
esac
`;

async function standIn(): Promise<{ alb(...args: string[]): ReturnType<typeof run>; calls(): Promise<string[]> }> {
  const folder = await temporaryFolder();
  await writeFile(join(folder, 'aws'), STAND_IN);
  await chmod(join(folder, 'aws'), 0o755);
  const env = { PATH: `${folder}:${process.env.PATH}`, STATE: folder };
  return {
    alb: (...args) => run('bash', [SCRIPT, ...args], { env }),
    calls: async () => (await readFile(join(folder, 'calls'), 'utf8')).trim().split('\n'),
  };
}

test('makes what is needed once, and finds it the second time', async () => {
  const { alb, calls } = await standIn();
  const first = await alb(...OPTIONS);
  expect(first.code, first.output).toBe(0);
  expect(first.stdout).toContain(
    'target group: arn:target-group\nload balancer: arn:load-balancer\npoint DNS at: lb.example.com',
  );
  const made = (await calls()).filter((call) => call.includes(' create-'));
  expect(made.map((call) => call.split(' ')[1])).toEqual([
    'create-target-group',
    'create-load-balancer',
    'create-listener',
  ]);
  expect(made[0]).toContain('--health-check-path /readyz');
  expect(made[1]).toContain('--scheme internal --subnets subnet-a subnet-b --security-groups sg-1');
  expect(made[2]).toContain('--default-actions Type=forward,TargetGroupArn=arn:target-group');
  expect((await calls()).join('\n')).toContain(
    'register-targets --target-group-arn arn:target-group --targets Id=10.0.1.5 Id=10.0.2.5',
  );
  const second = await alb(...OPTIONS);
  expect(second.stdout).toBe(first.stdout);
  expect((await calls()).filter((call) => call.includes(' create-'))).toEqual(made);
});

test('a dry run asks, and changes nothing', async () => {
  const { alb, calls } = await standIn();
  const { code, output } = await alb(...OPTIONS, '--dry-run');
  expect(code, output).toBe(0);
  expect(output).toContain('aws elbv2 create-load-balancer --name reductrai-proxy');
  expect((await calls()).filter((call) => !call.includes(' describe-'))).toEqual([]);
});

test('wrong and missing options are told', async () => {
  const { alb } = await standIn();
  expect(await alb('--vpc', 'vpc-1')).toMatchObject({ code: 2, output: 'missing: --subnets\n' });
  expect(await alb('--wrong')).toMatchObject({ code: 2, output: expect.stringContaining('unknown option: --wrong') });
  expect(await alb('--help')).toMatchObject({ code: 0, stdout: expect.stringContaining('Usage: alb.sh') });
});
