/**
 * Grafana dashboards from plans: deploy/monitoring/grafana/plans/*.yml says which panels ask what, and `node scripts/generate-dashboards.ts`
 * writes what Grafana loads beside it. test/deploy/dashboards.test.ts checks that the files are up to date and that every metric exists.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';

const FOLDER = join(import.meta.dirname, '../deploy/monitoring/grafana');

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

export const dashboardPath = ({ uid }: DashboardPlan): string => join(FOLDER, 'dashboards', `${uid}.json`);

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

if (import.meta.main) {
  mkdirSync(join(FOLDER, 'dashboards'), { recursive: true });
  for (const plan of dashboardPlans()) writeFileSync(dashboardPath(plan), dashboardText(plan));
}
