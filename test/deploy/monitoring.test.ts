/**
 * Rules, dashboards, Prometheus and Alertmanager: checked by promtool and amtool; every metric and label asked for is one that the product
 * has (by its declaration, and by /metrics of a real process); every alert has its page.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { dashboardPlans, dashboardText, generatedFiles } from '../../scripts/generate-monitoring.ts';
import { PROJECT } from '../support/proxy-process.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { declaredMetrics, exportedNames } from './support/known-metrics.ts';
import { namesOf } from './support/promql.ts';
import { DEPLOY, pass, run } from './support/tools.ts';

const MONITORING = join(DEPLOY, 'monitoring');
const PROMETHEUS = join(MONITORING, 'prometheus');
const RULES = join(PROMETHEUS, 'rules/reductrai.rules.yml');
/** Of other exporters, and what Prometheus itself makes. */
const OF_OTHERS = ['up', 'probe_success', 'probe_ssl_earliest_cert_expiry'];
/** That every target has, from the scrape configurations here and the operator's. */
const TARGET_LABELS = ['job', 'instance', 'zone', 'cluster'];

interface Rule {
  record?: string;
  alert?: string;
  expr: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
}

const rules = (): Rule[] => parse(readFileSync(RULES, 'utf8')).groups.flatMap(({ rules }: { rules: Rule[] }) => rules);

/** Grafana's own variables become what Prometheus can read. */
const queries = (): { where: string; expr: string }[] =>
  dashboardPlans().flatMap(({ uid, rows }) =>
    rows.flatMap(({ panels }) =>
      panels.flatMap(({ title, queries }) =>
        queries.map(({ expr }) => ({
          where: `${uid}: ${title}`,
          expr: expr.replaceAll('$__rate_interval', '5m').replace(/\$\w+/g, '.+'),
        })),
      ),
    ),
  );

describe('Prometheus', () => {
  test.each(['prometheus.yml', 'prometheus-ha.yml'])('%s is taken by promtool', async (file) => {
    await pass('promtool', ['check', 'config', '--lint=all', '--lint-fatal', join(PROMETHEUS, file)]);
  });

  test('rules are taken by promtool, with its lints', async () => {
    await pass('promtool', ['check', 'rules', '--lint=all', '--lint-fatal', RULES]);
  });

  test('rules do what their unit tests say', { timeout: 120_000 }, async () => {
    const files = readdirSync(join(PROMETHEUS, 'tests')).map((name) => join(PROMETHEUS, 'tests', name));
    await pass('promtool', ['test', 'rules', ...files]);
  });

  test('each alert is fired by a unit test', () => {
    const tests = readdirSync(join(PROMETHEUS, 'tests')).map((name) =>
      readFileSync(join(PROMETHEUS, 'tests', name), 'utf8'),
    );
    for (const { alert } of rules()) {
      if (alert)
        expect(tests.join('\n')).toMatch(new RegExp(`alertname="${alert}"|alertname: ${alert}\\n +exp_alerts:`));
    }
  });
});

describe('metrics asked for', () => {
  let known: Map<string, Set<string>>;
  beforeAll(async () => {
    known = await declaredMetrics();
  });

  const expectKnown = (expr: string, where: string): void => {
    const recorded = rules().flatMap(({ record }) => record ?? []);
    const { metrics, labels } = namesOf(expr);
    expect(metrics.size, where).toBeGreaterThan(0);
    for (const name of metrics) {
      expect([...known.keys(), ...recorded, ...OF_OTHERS], `${where}: ${name}`).toContain(name);
    }
    const having = [...TARGET_LABELS, 'version', ...[...metrics].flatMap((name) => [...(known.get(name) ?? [])])];
    for (const label of labels) expect(having, `${where}: ${label}`).toContain(label);
  };

  test('are declared, with the labels asked of them: rules', () => {
    for (const { alert, record, expr } of rules()) expectKnown(expr, (alert ?? record)!);
  });

  test('are declared, with the labels asked of them: dashboards', () => {
    for (const { where, expr } of queries()) expectKnown(expr, where);
  });

  test('are on /metrics of a real process', async () => {
    const exported = await exportedNames();
    const asked = [...rules().map(({ expr }) => expr), ...queries().map(({ expr }) => expr)].flatMap((expr) => [
      ...namesOf(expr).metrics,
    ]);
    for (const name of asked.filter((name) => name.startsWith('reductrai_'))) {
      expect([...exported], name).toContain(exported.has(name) ? name : name.replace(/_(bucket|count|sum)$/, ''));
    }
  });

  test('the other way round: dashboards and rules leave nothing of the declaration out', () => {
    const asked = [...rules().map(({ expr }) => expr), ...queries().map(({ expr }) => expr)].flatMap((expr) => [
      ...namesOf(expr).metrics,
    ]);
    const unasked = [...known.keys()].filter((name) => !/_(bucket|sum|count)$/.test(name) && !asked.includes(name));
    // Told by others: errors by status, deliveries by attempts, sizes by seconds.
    expect(unasked).toEqual(['reductrai_journal_group_commits_total', 'reductrai_takeover_envelopes_total']);
  });

  test('a name that nobody exports is noticed', () => {
    expect(() => expectKnown('rate(reductrai_request_total[5m])', 'x')).toThrow('reductrai_request_total');
    expect(() => expectKnown('sum by (upstraem) (reductrai_forward_pending)', 'x')).toThrow('upstraem');
  });
});

describe('dashboards', () => {
  test('they, and the copies for Kubernetes and Helm, are up to date (node scripts/generate-monitoring.ts)', () => {
    const files = generatedFiles();
    expect(files.size).toBe(2 * dashboardPlans().length + 2);
    // JSON as the formatter leaves it.
    for (const [path, text] of files) expect(parse(readFileSync(path, 'utf8')), path).toEqual(parse(text));
  });

  test('every query is PromQL', async () => {
    const file = join(await temporaryFolder(), 'queries.yml');
    const group = queries().map(({ where, expr }, index) => ({ alert: `q${index}`, expr, annotations: { where } }));
    await writeFile(file, stringify({ groups: [{ name: 'queries', rules: group }] }));
    await pass('promtool', ['check', 'rules', '--lint=none', file]);
  });

  test('panels tell what to look for, do not overlap, and name pages that are there', () => {
    for (const plan of dashboardPlans()) {
      const { panels, uid } = JSON.parse(dashboardText(plan));
      const taken = new Set<string>();
      for (const { gridPos, title, type, description } of panels) {
        if (type !== 'row') expect(description, `${uid}: ${title}`).toMatch(/\.$/);
        const page = /Runbook: ([\w-]+)\./.exec(description ?? '')?.[1];
        if (page) expect(existsSync(join(PROJECT, 'docs/runbooks', `${page}.md`)), page).toBe(true);
        for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
          for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
            expect(taken.has(`${x},${y}`), `${uid}: ${title}`).toBe(false);
            taken.add(`${x},${y}`);
          }
        }
      }
      expect(new Set(panels.map(({ id }: { id: number }) => id)).size).toBe(panels.length);
    }
  });
});

describe('alerts', () => {
  test('each says how bad it is and has a page that names it', () => {
    for (const { alert, labels, annotations } of rules()) {
      if (!alert) continue;
      expect(labels?.severity, alert).toMatch(/^(warning|critical)$/);
      expect(annotations?.summary, alert).toBeTruthy();
      const page = annotations?.runbook_url ?? '';
      expect(page, alert).toMatch(/^docs\/runbooks\/[\w-]+\.md$/);
      expect(existsSync(join(PROJECT, page)), `${alert}: ${page}`).toBe(true);
      expect(readFileSync(join(PROJECT, page), 'utf8'), page).toContain(alert);
    }
  });

  const ALERTMANAGER = join(MONITORING, 'alertmanager/alertmanager.yml');

  test('alertmanager.yml is taken by amtool', async () => {
    await pass('amtool', ['check-config', ALERTMANAGER]);
  });

  test.each([
    ['critical', 'pager,channel'],
    ['warning', 'channel'],
  ])('%s goes to %s', async (severity, receivers) => {
    const args = ['config', 'routes', 'test', `--config.file=${ALERTMANAGER}`, `--verify.receivers=${receivers}`];
    await pass('amtool', [...args, `severity=${severity}`, 'alertname=ReductraiStorageDown']);
    expect(
      (await run('amtool', [...args.slice(0, -1), '--verify.receivers=nobody', `severity=${severity}`])).code,
    ).toBe(1);
  });

  test('what one alert silences are alerts that exist', () => {
    const names = new Set(rules().map(({ alert }) => alert));
    const { inhibit_rules: inhibitions } = parse(readFileSync(ALERTMANAGER, 'utf8'));
    for (const { source_matchers: from, target_matchers: to } of inhibitions) {
      for (const name of [...from, ...to].join(' ').match(/Reductrai\w+/g)!) expect(names).toContain(name);
    }
  });
});
