/**
 * A traced program, run as a process of its own: dd-trace as it comes from npm, configured by its environment only. It makes spans,
 * tells on stdout what it made (one line, `SPANS ` and JSON), and ends when its stdin does; dd-trace flushes by itself.
 */
import { once } from 'node:events';
import tracer, { type Span } from 'dd-trace';

/** As the program knows it: ids in decimal; `''` for a span without a parent. */
export interface MadeSpan {
  name: string;
  traceId: string;
  spanId: string;
  parentId: string;
  service: string;
  resource: string;
  type: string;
  isError: boolean;
  texts: Record<string, string>;
  numbers: Record<string, number>;
}

interface Recipe {
  name: string;
  parent?: Span;
  service?: string;
  resource?: string;
  type?: string;
  error?: Error;
  texts?: Record<string, string>;
  numbers?: Record<string, number>;
}

const made: MadeSpan[] = [];

function start(recipe: Recipe): Span {
  const { name, parent, service = 'shop', resource = name, type = '', error, texts = {}, numbers = {} } = recipe;
  const span = tracer.startSpan(name, parent ? { childOf: parent } : {});
  span.addTags({ 'service.name': service, 'resource.name': resource, ...texts, ...numbers });
  if (type !== '') span.setTag('span.type', type);
  if (error) span.setTag('error', error);
  made.push({
    name,
    traceId: span.context().toTraceId(),
    spanId: span.context().toSpanId(),
    parentId: parent?.context().toSpanId() ?? '',
    service,
    resource,
    type,
    isError: error !== undefined,
    texts: error ? { ...texts, 'error.message': error.message, 'error.type': error.name } : texts,
    numbers,
  });
  return span;
}

tracer.init();

for (let i = 0; i < 20; i++) {
  const root = start({
    name: 'web.request',
    resource: `GET /商品/${i}`,
    type: 'web',
    texts: {
      'http.method': 'GET',
      'http.status_code': '200',
      'span.kind': 'server',
      'ключ 🔑': 'žluťoučký "kůň"\n\t\u0001 🐎',
    },
    numbers: {
      'cart.items': i,
      'cart.total': 12.34 + i,
      'tiny.value': 5e-324,
      'large.value': 2 ** 53 - 1,
      'less.than.zero': -i - 0.5,
    },
  });
  const query = start({
    name: 'pg.query',
    parent: root,
    service: 'shop-db',
    resource: 'SELECT * FROM "článek" WHERE id = $1',
    type: 'sql',
    texts: { 'db.name': 'shop', 'span.kind': 'client', 'long.text': 'x'.repeat(5000) },
    numbers: { 'db.row_count': 1000 * i },
  });
  const cache = start({ name: 'cache.get', parent: query, texts: { empty: '' } });
  cache.addLink({ context: root.context(), attributes: { reason: 'retry' } });
  cache.finish();
  query.finish();
  const failed = start({ name: 'mail.send', parent: root, error: new TypeError(`no such address: ${i} ✉`) });
  failed.finish();
  root.finish();
}

process.stdout.write(`SPANS ${JSON.stringify(made)}\n`);
process.stdin.resume();
await once(process.stdin, 'end');
