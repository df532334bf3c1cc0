/**
 * What follows from other files of deploy/, written by `node scripts/generate-monitoring.ts && npm run format`: Grafana's dashboards from their plans
 * (deploy/monitoring/grafana/plans), and the copies of rules and dashboards that Kubernetes and Helm need as their own. test/deploy/monitoring.test.ts
 * checks that all of it is up to date.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parse, stringify } from 'yaml';

const DEPLOY = join(import.meta.dirname, '../deploy');
const FOLDER = join(DEPLOY, 'monitoring/grafana');
const RULES = join(DEPLOY, 'monitoring/prometheus/rules/reductrai.rules.yml');
const CHART_FILES = join(DEPLOY, 'helm/reductrai-proxy/files');

interface PanelPlan {
  title: string;
  /** What to look for, and what to do about it. */
  description: string;
  kind?: 'timeseries' | 'stat';
  /** In 24ths of the row. */
  width?: number;
  unit: string;
  /** From which value on it is drawn yellow, and red. */
  thresholds?: [warning: number, critical: number];
  isStacked?: boolean;
  queries: { expr: string; legend?: string }[];
}

export interface DashboardPlan {
  uid: string;
  title: string;
  description: string;
  /** Labels one can choose by: name, and the metric whose values there are. */
  variables: { name: string; metric: string; isMulti: boolean }[];
  rows: { title: string; panels: PanelPlan[] }[];
}

export function dashboardPlans(): DashboardPlan[] {
  const plans = join(FOLDER, 'plans');
  return readdirSync(plans)
    .sort()
    .map((name) => parse(readFileSync(join(plans, name), 'utf8')));
}

const SCHEMA_VERSION = 39;
const ROW_WIDTH = 24;
const PANEL_HEIGHT = 8;
const STAT_HEIGHT = 4;
const DEFAULT_WIDTH = 8;
const DATASOURCE = { type: 'prometheus', uid: '$datasource' };

export function dashboardText(plan: DashboardPlan): string {
  return `${JSON.stringify(dashboardOf(plan), null, 2)}\n`;
}

function dashboardOf(plan: DashboardPlan): object {
  return {
    uid: plan.uid,
    title: plan.title,
    description: plan.description,
    tags: ['reductrai-proxy'],
    editable: false,
    schemaVersion: SCHEMA_VERSION,
    version: 1,
    refresh: '30s',
    time: { from: 'now-3h', to: 'now' },
    links: [
      {
        type: 'dashboards',
        tags: ['reductrai-proxy'],
        title: 'reductrai-proxy',
        asDropdown: true,
        includeVars: true,
        keepTime: true,
      },
    ],
    templating: { list: [datasourceVariable(), ...plan.variables.map(variableOf)] },
    panels: panelsOf(plan),
  };
}

function datasourceVariable(): object {
  return {
    name: 'datasource',
    label: 'Data source',
    type: 'datasource',
    query: 'prometheus',
    current: { text: 'Prometheus', value: 'prometheus' },
  };
}

function variableOf({ name, metric, isMulti }: DashboardPlan['variables'][number]): object {
  const query = `label_values(${metric}, ${name})`;
  return {
    name,
    type: 'query',
    datasource: DATASOURCE,
    definition: query,
    query: { query, refId: name },
    refresh: 2,
    sort: 1,
    multi: isMulti,
    includeAll: true,
    allValue: '.+',
    current: { text: 'All', value: '$__all' },
  };
}

function panelsOf({ rows }: DashboardPlan): object[] {
  const panels: object[] = [];
  let y = 0;
  for (const row of rows) {
    panels.push({
      id: panels.length + 1,
      type: 'row',
      title: row.title,
      collapsed: false,
      panels: [],
      gridPos: { h: 1, w: ROW_WIDTH, x: 0, y },
    });
    y += 1;
    let x = 0;
    let height = 0;
    for (const panel of row.panels) {
      const w = panel.width ?? DEFAULT_WIDTH;
      if (x + w > ROW_WIDTH) {
        x = 0;
        y += height;
      }
      height = panel.kind === 'stat' ? STAT_HEIGHT : PANEL_HEIGHT;
      panels.push(panelOf(panel, panels.length + 1, { h: height, w, x, y }));
      x += w;
    }
    y += height;
  }
  return panels;
}

function panelOf(panel: PanelPlan, id: number, gridPos: object): object {
  const kind = panel.kind ?? 'timeseries';
  const [warning, critical] = panel.thresholds ?? [];
  const steps = [
    { color: 'green', value: null },
    ...(warning === undefined ? [] : [{ color: 'yellow', value: warning }]),
    ...(critical === undefined ? [] : [{ color: 'red', value: critical }]),
  ];
  const isMarked = panel.thresholds !== undefined;
  return {
    id,
    type: kind,
    title: panel.title,
    description: panel.description,
    datasource: DATASOURCE,
    gridPos,
    fieldConfig: {
      defaults: {
        unit: panel.unit,
        thresholds: { mode: 'absolute', steps },
        ...(kind === 'timeseries'
          ? {
              custom: {
                axisSoftMin: 0,
                lineWidth: 1,
                fillOpacity: panel.isStacked ? 20 : 0,
                showPoints: 'never',
                stacking: { mode: panel.isStacked ? 'normal' : 'none', group: 'A' },
                thresholdsStyle: { mode: isMarked ? 'line' : 'off' },
              },
            }
          : {}),
      },
      overrides: [],
    },
    options:
      kind === 'stat'
        ? {
            reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
            colorMode: isMarked ? 'background' : 'value',
            graphMode: 'area',
          }
        : {
            legend: { displayMode: 'list', placement: 'bottom', showLegend: true },
            tooltip: { mode: 'multi', sort: 'desc' },
          },
    targets: panel.queries.map(({ expr, legend }, index) => ({
      refId: String.fromCharCode('A'.charCodeAt(0) + index),
      datasource: DATASOURCE,
      expr,
      legendFormat: legend ?? '__auto',
      ...(kind === 'stat' ? { instant: true, range: false } : { range: true }),
    })),
  };
}

const prometheusRule = (): string =>
  `# Made of deploy/monitoring/prometheus/rules by scripts/generate-monitoring.ts: change them there.\n${stringify(
    {
      apiVersion: 'monitoring.coreos.com/v1',
      kind: 'PrometheusRule',
      metadata: { name: 'reductrai-proxy' },
      spec: parse(readFileSync(RULES, 'utf8')),
    },
    { lineWidth: 0, singleQuote: true },
  )}`;

/** Every file that is written, by its path. */
export function generatedFiles(): Map<string, string> {
  const dashboards = dashboardPlans().map((plan) => [`${plan.uid}.json`, dashboardText(plan)] as const);
  return new Map([
    ...dashboards.map(([name, text]) => [join(FOLDER, 'dashboards', name), text] as const),
    ...dashboards.map(([name, text]) => [join(CHART_FILES, 'dashboards', name), text] as const),
    [join(CHART_FILES, 'reductrai.rules.yml'), readFileSync(RULES, 'utf8')],
    [join(DEPLOY, 'kubernetes/components/prometheus-operator/prometheusrule.yaml'), prometheusRule()],
  ]);
}

if (import.meta.main) {
  for (const [path, text] of generatedFiles()) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
}
