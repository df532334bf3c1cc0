/**
 * What the fake vendor knows of Datadog's intake: its routes with their answers, and a light but strict look at bodies.
 * Written without our own decoders on purpose: node:zlib, JSON.parse, a bare protobuf walk and msgpackr.
 * Facts: answers as recorded from the public API, success codes as the agents' own clients demand them.
 */
import { createHash } from 'node:crypto';
import { gunzipSync, inflateRawSync, inflateSync, zstdDecompressSync } from 'node:zlib';
import { Unpackr } from 'msgpackr';

export type BodyForm = 'json' | 'protobuf' | 'msgpack' | 'any' | 'none';

export interface VendorRoute {
  status: number;
  body: string;
  contentType: string;
  form: BodyForm;
  /** The key may come in the query (`api_key`) instead of the header. */
  keyInQuery?: true;
}

const OK = '{"status":"ok"}';
const JSON_TYPE = 'application/json';
const route = (status: number, body: string, form: BodyForm, extra: Partial<VendorRoute> = {}): VendorRoute => ({
  status,
  body,
  contentType: JSON_TYPE,
  form,
  ...extra,
});

const EVENT_V1 =
  '{"status":"ok","event":{"id":1,"id_str":"1","url":"https://app.example/event/1","title":"","text":""}}';
const EVENT_V2 =
  '{"data":{"type":"event","attributes":{"attributes":{"evt":{"id":"1","uid":"uid1"}}}},"links":{"self":"https://app.example/event/1"}}';

const DATADOG_ROUTES: [method: string, path: RegExp, route: VendorRoute][] = [
  ['POST', /^\/api\/v1\/series$/, route(202, OK, 'json', { contentType: 'text/json', keyInQuery: true })],
  // JSON and protobuf by content type: 'any' is narrowed there.
  ['POST', /^\/api\/v2\/series$/, route(202, '{"errors":[]}', 'any')],
  ['POST', /^\/api\/intake\/metrics\/v3(beta)?\/(series|sketches)$/, route(202, '{}', 'protobuf')],
  ['POST', /^\/api\/beta\/sketches$/, route(202, '{}', 'protobuf')],
  ['POST', /^\/api\/v1\/distribution_points$/, route(202, OK, 'json', { keyInQuery: true })],
  ['POST', /^\/api\/v1\/check_run$/, route(202, OK, 'json', { keyInQuery: true })],
  ['POST', /^\/api\/v2\/logs$/, route(202, '{}', 'any', { keyInQuery: true })],
  ['POST', /^\/v1\/input(\/[^/]+)?\/?$/, route(200, '{}', 'any', { keyInQuery: true })],
  ['POST', /^\/api\/v0\.2\/traces$/, route(202, '{}', 'protobuf')],
  ['POST', /^\/api\/v0\.2\/stats$/, route(202, '{}', 'msgpack')],
  ['POST', /^\/api\/v1\/events$/, route(202, EVENT_V1, 'json', { keyInQuery: true })],
  ['POST', /^\/api\/v2\/events$/, route(202, EVENT_V2, 'json')],
  ['POST', /^\/intake\/?$/, route(202, OK, 'json', { keyInQuery: true })],
  ['POST', /^\/api\/v1\/metadata$/, route(202, OK, 'json')],
  ['GET', /^\/api\/v1\/validate$/, route(200, '{"valid":true}', 'none', { keyInQuery: true })],
  [
    'GET',
    /^\/api\/v2\/validate$/,
    route(200, '{"data":{"id":"11111111-2222-3333-4444-555555555555","type":"validation"}}', 'none'),
  ],
  ['GET', /^\/_health$/, route(200, '{}', 'none')],
  // Event-platform tracks and the other products: taken as they are.
  ['POST', /^\/api\/v[0-9.]+\/[a-z_]+$/, route(202, '{}', 'any')],
];

const RATES = '{"rate_by_service":{"service:,env:":1}}';
const AGENT_INFO =
  '{"version":"7.83.0","endpoints":["/v0.3/traces","/v0.4/traces","/v0.5/traces","/v0.7/traces","/v0.6/stats"],"client_drop_p0s":false}';
const AGENT_ROUTES: [method: string, path: RegExp, route: VendorRoute][] = [
  ['PUT', /^\/v0\.3\/traces$/, route(200, 'OK\n', 'any', { contentType: 'text/plain' })],
  ['PUT', /^\/v0\.[457]\/traces$/, route(200, RATES, 'any')],
  ['PUT', /^\/v0\.6\/stats$/, route(200, '', 'msgpack')],
  ['GET', /^\/info$/, route(200, AGENT_INFO, 'none')],
  // What tracers send about themselves: the Agent hands it on.
  ['PUT', /^\/telemetry\/proxy\/api\/v2\/apmtelemetry$/, route(202, '{}', 'json')],
  ['PUT', /^\/dogstatsd\/v2\/proxy$/, route(200, '', 'any')],
];

export function routeOf(role: 'datadog' | 'agent', method: string, path: string): VendorRoute | undefined {
  const routes = role === 'datadog' ? DATADOG_ROUTES : AGENT_ROUTES;
  // Tracers send the same by PUT and by POST.
  const asked = role === 'agent' && method === 'POST' ? 'PUT' : method;
  return routes.find(([wanted, form]) => wanted === asked && form.test(path))?.[2];
}

export class BodyProblem extends Error {
  readonly status: 400 | 415;

  constructor(status: 400 | 415, detail: string) {
    super(detail);
    this.status = status;
  }
}

/** Inflated by the stacked encodings, last one first. Throws BodyProblem. */
export function decompress(body: Uint8Array, contentEncoding: string): Uint8Array {
  let bytes = body;
  for (const encoding of contentEncoding.toLowerCase().split(',').reverse()) {
    try {
      bytes = decompressOnce(bytes, encoding.trim());
    } catch (error) {
      if (error instanceof BodyProblem) throw error;
      throw new BodyProblem(400, `cannot decompress ${encoding.trim()}: ${String(error)}`);
    }
  }
  return bytes;
}

function decompressOnce(bytes: Uint8Array, encoding: string): Uint8Array {
  switch (encoding) {
    case '':
    case 'identity':
      return bytes;
    case 'gzip':
    case 'x-gzip':
      return gunzipSync(bytes);
    case 'deflate':
    case 'x-deflate':
      // zlib-wrapped; the first byte tells raw deflate, which some senders mean by it.
      return bytes[0] !== undefined && (bytes[0] & 0x0f) === 8 ? inflateSync(bytes) : inflateRawSync(bytes);
    case 'zstd':
    case 'zstd1':
      return zstdFrames(bytes);
    default:
      throw new BodyProblem(415, `unknown Content-Encoding '${encoding}'`);
  }
}

/** All frames of a body that may hold several in a row. */
function zstdFrames(bytes: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [];
  let rest = bytes;
  while (rest.byteLength > 0) {
    const length = zstdFrameBytes(rest);
    parts.push(zstdDecompressSync(rest.subarray(0, length)));
    rest = rest.subarray(length);
  }
  return Buffer.concat(parts);
}

/** Length of the first frame by its block headers (RFC 8878, section 3.1.1). */
function zstdFrameBytes(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = view.getUint32(0, true);
  if (magic >= 0x184d2a50 && magic <= 0x184d2a5f) return 8 + view.getUint32(4, true);
  if (magic !== 0xfd2fb528) throw new Error('not a zstd frame');
  const descriptor = view.getUint8(4);
  const singleSegment = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >> 6;
  const contentSizeBytes = sizeFlag === 0 ? (singleSegment ? 1 : 0) : 2 ** sizeFlag;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3]!;
  let at = 5 + (singleSegment ? 0 : 1) + dictionaryBytes + contentSizeBytes;
  for (;;) {
    const header = view.getUint8(at) | (view.getUint8(at + 1) << 8) | (view.getUint8(at + 2) << 16);
    const kind = (header >> 1) & 3;
    at += 3 + (kind === 1 ? 1 : header >> 3);
    if ((header & 1) !== 0) break;
  }
  return at + ((descriptor & 4) !== 0 ? 4 : 0);
}

/** Throws BodyProblem unless the bytes are well formed. Empty bodies and `{}` are agents' probes and always pass. */
export function checkForm(raw: Uint8Array, form: BodyForm, contentType: string): void {
  if (raw.byteLength === 0 || form === 'none') return;
  if (raw.byteLength === 2 && Buffer.from(raw).toString() === '{}') return;
  const type = contentType.toLowerCase();
  let effective: BodyForm = form;
  if (form === 'any') {
    if (type.includes('protobuf')) effective = 'protobuf';
    else if (type.includes('msgpack')) effective = 'msgpack';
    else if (type.includes('json') && !type.includes('simple')) effective = 'json';
  }
  try {
    if (effective === 'json') JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(raw));
    else if (effective === 'protobuf') walkProtobuf(raw);
    else if (effective === 'msgpack') new Unpackr({ int64AsType: 'bigint' }).unpack(raw);
  } catch (error) {
    throw new BodyProblem(400, `not well-formed ${effective}: ${String(error)}`);
  }
}

/** Field by field at the top level; lengths must add up. */
function walkProtobuf(bytes: Uint8Array): void {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error('varint beyond the end');
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw new Error('varint too long');
  };
  while (at < bytes.byteLength) {
    const tag = varint();
    if (tag < 8) throw new Error(`field number 0 at ${at}`);
    const wireType = tag % 8;
    if (wireType === 0) varint();
    else if (wireType === 1) at += 8;
    else if (wireType === 2) {
      const length = varint();
      at += length;
    } else if (wireType === 5) at += 4;
    else throw new Error(`wire type ${wireType} at ${at}`);
    if (at > bytes.byteLength) throw new Error('field beyond the end');
  }
}

export function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
