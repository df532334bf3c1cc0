/**
 * Which Datadog host a path belongs to. Agents have one URL setting per product, and all of them point at this proxy, so the host
 * cannot be told from the request: the route decides. Source: datadog-intake.md §1 (product hosts of every route).
 */

/** A Datadog site (`datadoghq.eu`), or one base URL that takes every path (another proxy, a test, a relay). */
export type DatadogTarget = { kind: 'site'; site: string } | { kind: 'base'; url: string };

const SITES = [
  'datadoghq.com',
  'us3.datadoghq.com',
  'us5.datadoghq.com',
  'ap1.datadoghq.com',
  'ap2.datadoghq.com',
  'uk1.datadoghq.com',
  'datadoghq.eu',
  'ddog-gov.com',
  'us2.ddog-gov.com',
  'datad0g.com',
];

/** `forwardTo` wins over `endpoint`, which wins over `site`. An endpoint on a Datadog host stands for that site. */
export function datadogTarget(settings: { site?: string; endpoint?: string; forwardTo?: string }): DatadogTarget {
  const url = settings.forwardTo || settings.endpoint;
  if (!url) return { kind: 'site', site: settings.site || 'datadoghq.com' };
  const site = siteOf(url);
  return site ? { kind: 'site', site } : { kind: 'base', url: url.replace(/\/+$/, '') };
}

function siteOf(url: string): string | undefined {
  const host = URL.canParse(url) ? new URL(url).hostname : url;
  // The longest match: us3.datadoghq.com is a site of its own.
  return SITES.filter((site) => host === site || host.endsWith(`.${site}`)).sort((a, b) => b.length - a.length)[0];
}

/** Prefix of the path → sub-domain. The first that fits. */
const PRODUCTS: readonly (readonly [prefix: string, host: string])[] = [
  ['/api/v2/logs', 'http-intake.logs'],
  ['/v1/input', 'http-intake.logs'],
  ['/api/v0.2/ping-pong', 'config'],
  ['/api/v0.2/', 'trace.agent'],
  ['/api/v0.1/pipeline_stats', 'trace.agent'],
  ['/api/v2/data_streams_messages', 'trace.agent'],
  ['/api/v0.1/', 'config'],
  ['/api/v2/profile', 'intake.profile'],
  ['/api/v2/apmtelemetry', 'instrumentation-telemetry-intake'],
  ['/api/v2/debugger', 'debugger-intake'],
  ['/api/v2/spans', 'public-trace-http-intake.logs'],
  ['/api/v1/lineage', 'data-obs-intake'],
  ['/api/v1/collector', 'process'],
  ['/api/v1/container', 'process'],
  ['/api/v1/connections', 'process'],
  ['/api/v1/discovery', 'process'],
  ['/api/v2/proclcycle', 'process'],
  ['/api/v1/orchestrator', 'orchestrator'],
  ['/api/v2/orch', 'orchestrator'],
  ['/api/v2/databasequery', 'dbm-metrics-intake'],
  ['/api/v2/dbm', 'dbm-metrics-intake'],
  ['/api/v2/ndmtraps', 'snmp-traps-intake'],
  ['/api/v2/ndmflow', 'ndmflow-intake'],
  ['/api/v2/netpath', 'netpath-intake'],
  ['/api/v2/ndm', 'ndm-intake'],
  ['/api/v2/contlcycle', 'contlcycle-intake'],
  ['/api/v2/contimage', 'contimage-intake'],
  ['/api/v2/sbom', 'sbom-intake'],
  ['/api/v2/synthetics', 'http-synthetics'],
  ['/api/v2/events', 'event-management-intake'],
  ['/api/v2/secruntime', 'runtime-security-http-intake.logs'],
  ['/api/v2/compliance', 'compliance-http-intake.logs'],
  ['/support/flare', 'app'],
  ['/intake', 'app'],
  ['/api/v1/metadata', 'app'],
  ['/api/v1/validate', 'api'],
  ['/api/v2/validate', 'api'],
  ['/api/beta/sketches', 'app'],
  ['/api/intake/metrics/', 'app'],
];

/** Agentless spans: these sites follow no pattern (datadog-intake.md §1.1). */
const SPANS_HOSTS: Readonly<Record<string, string>> = {
  'us3.datadoghq.com': 'trace.browser-intake-us3-datadoghq.com',
  'us5.datadoghq.com': 'trace.browser-intake-us5-datadoghq.com',
  'ap1.datadoghq.com': 'browser-intake-ap1-datadoghq.com',
  'ap2.datadoghq.com': 'browser-intake-ap2-datadoghq.com',
  'uk1.datadoghq.com': 'browser-intake-uk1-datadoghq.com',
};

const EVP_SUBDOMAIN = /^[a-z0-9][a-z0-9.-]{0,100}$/;

/** Origin (or base URL) without a trailing slash, for a path as received. */
export function datadogOrigin(
  path: string,
  headers: Record<string, string | string[] | undefined>,
  target: DatadogTarget,
): string {
  if (target.kind === 'base') return target.url;
  const { site } = target;
  const subdomain = headers['x-datadog-evp-subdomain'];
  if (typeof subdomain === 'string' && EVP_SUBDOMAIN.test(subdomain) && path.startsWith('/api/v2/')) {
    return `https://${subdomain}.${site}`;
  }
  if (path.startsWith('/api/v2/spans') && SPANS_HOSTS[site]) return `https://${SPANS_HOSTS[site]}`;
  for (const [prefix, host] of PRODUCTS) if (path.startsWith(prefix)) return `https://${host}.${site}`;
  return `https://api.${site}`;
}
