/** Logs and events of the fleet: the agent's array of wrapped lines, and a library's structured ones with attributes. */
import { type Fleet, type Host, SERVICES } from './fleet.ts';
import type { Body } from './metric-bodies.ts';

const PATHS = ['/products/', '/cart', '/checkout', '/search?q=', '/users/', '/static/app.js', '/healthz'];
const AGENTS = [
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36',
  'Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1',
  'kube-probe/1.29',
];

const iso = (ms: number): string => new Date(ms).toISOString();

function address(fleet: Fleet): string {
  return `10.${fleet.whole(0, 3)}.${fleet.whole(0, 255)}.${fleet.whole(1, 254)}`;
}

/** One line of some log file, with its status as the agent's pipeline knows it. */
function line(fleet: Fleet, ms: number, errorShare: number): { text: string; status: string; source: string } {
  const at = iso(ms);
  if (fleet.chance(errorShare)) {
    return fleet.pick([
      {
        text: `${at} ERROR [pool-${fleet.whole(1, 8)}] c.s.OrderRepository - could not reach orders-db:5432 after ${fleet.whole(1, 5)} attempts: connection timed out (order=${fleet.hex(12)})`,
        status: 'error',
        source: 'java',
      },
      {
        text: `${at} ERROR charge declined for order ${fleet.hex(12)}: upstream answered 502 in ${fleet.whole(900, 9000)} ms`,
        status: 'error',
        source: 'go',
      },
    ]);
  }
  if (fleet.chance(0.5)) {
    const path = fleet.pick(PATHS);
    const suffix = path.endsWith('/') || path.endsWith('=') ? fleet.whole(1, 9999) : '';
    const code = fleet.chance(0.95) ? 200 : 404;
    return {
      text: `${address(fleet)} - - [${at}] "GET ${path}${suffix} HTTP/1.1" ${code} ${fleet.whole(120, 60_000)} "-" "${fleet.pick(AGENTS)}" ${(fleet.skewed(30) / 1000).toFixed(3)}`,
      status: code === 200 ? 'info' : 'warn',
      source: 'nginx',
    };
  }
  return fleet.pick([
    {
      text: `${at} INFO [http-nio-8080-exec-${fleet.whole(1, 20)}] c.s.CartService - cart ${fleet.hex(8)} now holds ${fleet.whole(1, 9)} items, total ${fleet.whole(5, 900)}.${fleet.whole(10, 99)} EUR`,
      status: 'info',
      source: 'java',
    },
    {
      text: `${at} DEBUG cache hit for session ${fleet.hex(16)} (${fleet.whole(1, 30)} ms)`,
      status: 'debug',
      source: 'redis',
    },
  ]);
}

export function agentLogs(fleet: Fleet, host: Host, nowMs: number): Body {
  const service = fleet.pick(SERVICES);
  const items = fleet.whole(20, 80);
  const logs = Array.from({ length: items }, (_, i) => {
    const ms = Math.floor(nowMs) - (items - i) * 37;
    const { text, status, source } = line(fleet, ms, service.errorShare);
    return {
      message: text,
      status,
      timestamp: ms,
      hostname: host.name,
      service: service.name,
      ddsource: source,
      ddtags: `${host.tags.join(',')},version:${service.version},filename:app.log`,
    };
  });
  return { bytes: Buffer.from(JSON.stringify(logs)), items };
}

export function libraryLogs(fleet: Fleet, host: Host, nowMs: number): Body {
  const items = fleet.whole(5, 30);
  const logs = Array.from({ length: items }, (_, i) => {
    const service = fleet.pick(SERVICES);
    const [resource, typicalMs] = fleet.pick(service.endpoints);
    const [method, route] = resource.split(' ');
    const isError = fleet.chance(service.errorShare);
    return {
      ddsource: service.language,
      ddtags: `env:prod,version:${service.version}`,
      hostname: host.name,
      service: service.name,
      message: isError ? `${resource} failed` : `${resource} done`,
      status: isError ? 'error' : 'info',
      '@timestamp': iso(Math.floor(nowMs) - (items - i) * 11),
      dd: { trace_id: String(fleet.id()), span_id: String(fleet.id()), env: 'prod', version: service.version },
      http: { method, route, status_code: isError ? 500 : 200, client_ip: address(fleet) },
      duration_ms: Math.round(fleet.skewed(typicalMs) * 1000) / 1000,
      user: { id: fleet.whole(1, 50_000), plan: fleet.pick(['free', 'plus', 'pro']) },
      ...(isError ? { error: { kind: 'TimeoutError', stack: stackOf(fleet, service.name) } } : {}),
    };
  });
  return { bytes: Buffer.from(JSON.stringify(logs)), items };
}

function stackOf(fleet: Fleet, service: string): string {
  const frames = ['Client.request', 'OrderRepository.find', 'CheckoutService.place', 'Router.handle'];
  const lines = frames.map(
    (frame) => `    at ${frame} (/srv/${service}/dist/app.js:${fleet.whole(100, 140)}:${fleet.whole(5, 40)})`,
  );
  return ['TimeoutError: no answer after 5000 ms', ...lines].join('\n');
}

export function deployEvent(fleet: Fleet, host: Host, nowMs: number): Body {
  const service = fleet.pick(SERVICES);
  const event = {
    title: `${service.name} ${service.version} deployed`,
    text: `Rolled out to ${host.zone} by pipeline ${fleet.whole(10_000, 99_999)} (${fleet.hex(8)}).`,
    date_happened: Math.floor(nowMs / 1000),
    host: host.name,
    tags: ['env:prod', `service:${service.name}`],
    alert_type: 'info',
    priority: 'normal',
    source_type_name: 'deploy',
    aggregation_key: `${service.name}-${fleet.hex(6)}`,
  };
  return { bytes: Buffer.from(JSON.stringify(event)), items: 1 };
}
