/**
 * A fake Datadog intake (or, by role, a fake Agent on its tracer port): a real HTTP server on a port of its own. It answers
 * as Datadog does, checks key, encoding and framing of each request, keeps what it received, and can be told to misbehave.
 */
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { BodyProblem, checkForm, decompress, routeOf, sha256Hex } from './fake-vendor-checks.ts';

export interface FakeVendorOptions {
  /** Default `datadog`. An Agent needs no key. */
  role?: 'datadog' | 'agent';
  /** Keys that are taken; any other gets 403. Default: any that is not empty. */
  apiKeys?: string[];
  /** False: only size and hash of each body are kept, for heavy runs. Default true. */
  keepBodies?: boolean;
  /** False: bodies are not inflated and parsed. Default true. */
  checkBodies?: boolean;
  /** 0 (default): any free port. */
  port?: number;
}

export interface VendorRequest {
  /** 1 for the first request whose body arrived whole. */
  order: number;
  method: string;
  /** Without the query. */
  path: string;
  query: URLSearchParams;
  headers: IncomingHttpHeaders;
  /** As received, still compressed; empty when bodies are not kept. */
  body: Uint8Array;
  bodyBytes: number;
  bodySha256: string;
  /** The key it came with, from header or query; '' when none. */
  apiKey: string;
  /** What was answered; 0 when the socket was destroyed or left hanging. */
  status: number;
}

export interface VendorAnswer {
  /** Default: what Datadog answers on this route. */
  status?: number;
  headers?: Record<string, string>;
  body?: string;
  /** Real time before the answer. */
  delayMs?: number;
  /** Destroys the socket instead of answering. */
  reset?: true;
  /** Never answers; the socket stays open until the client gives up or the vendor closes. */
  hang?: true;
  /** Answers as usual but destroys the socket amid the answer: the sender cannot know. */
  cutAnswer?: true;
}

/** Decides per request; undefined gives the default. Runs after the checks of a well-formed request only. */
export type VendorScript = (request: VendorRequest) => VendorAnswer | undefined | Promise<VendorAnswer | undefined>;

export interface VendorViolation {
  order: number;
  kind: 'path' | 'key' | 'encoding' | 'frame' | 'length';
  detail: string;
}

export interface FakeVendor {
  readonly url: string;
  readonly port: number;
  readonly requests: VendorRequest[];
  /** What a real vendor would have refused, whatever the script answered. */
  readonly violations: VendorViolation[];
  /** Sockets accepted so far: tells whether connections are kept alive. */
  readonly connectionCount: number;
  /** Requests that are being answered now, and the most there ever were at once. */
  readonly runningCount: number;
  readonly runningPeak: number;
  script(decide: VendorScript | undefined): void;
  /** Requests that were answered with 2xx. */
  delivered(): VendorRequest[];
  /** Resolves once this many requests (all, or those that match) are answered, reset or left hanging. */
  waitFor(count: number, matches?: (request: VendorRequest) => boolean): Promise<VendorRequest[]>;
  /** Refuses connections and breaks those it has; `up` listens again on the same port. */
  down(): Promise<void>;
  up(): Promise<void>;
  close(): Promise<void>;
}

export async function startFakeVendor(options: FakeVendorOptions = {}): Promise<FakeVendor> {
  const vendor = new Vendor(options);
  await vendor.up();
  return vendor;
}

class Vendor implements FakeVendor {
  readonly requests: VendorRequest[] = [];
  readonly violations: VendorViolation[] = [];
  readonly #options: FakeVendorOptions;
  readonly #settled: VendorRequest[] = [];
  readonly #server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    void this.#serve(request, response);
  });
  readonly #waiters: { count: number; matches: (request: VendorRequest) => boolean; resolve: () => void }[] = [];
  #script: VendorScript | undefined;
  #port: number;
  connectionCount = 0;
  runningCount = 0;
  runningPeak = 0;

  constructor(options: FakeVendorOptions) {
    this.#options = options;
    this.#port = options.port ?? 0;
    this.#server.on('connection', () => {
      this.connectionCount++;
    });
  }

  get port(): number {
    return this.#port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  script(decide: VendorScript | undefined): void {
    this.#script = decide;
  }

  delivered(): VendorRequest[] {
    return this.requests.filter((request) => request.status >= 200 && request.status < 300);
  }

  async waitFor(count: number, matches: (request: VendorRequest) => boolean = () => true): Promise<VendorRequest[]> {
    if (this.#settled.filter(matches).length < count) {
      await new Promise<void>((resolve) => this.#waiters.push({ count, matches, resolve }));
    }
    return this.#settled.filter(matches);
  }

  async down(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  async up(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.#port, '127.0.0.1', () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  close(): Promise<void> {
    return this.down();
  }

  async #serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    this.runningCount++;
    this.runningPeak = Math.max(this.runningPeak, this.runningCount);
    response.on('close', () => {
      this.runningCount--;
    });
    response.on('error', () => {});
    let body: Buffer;
    try {
      const chunks: Buffer[] = [];
      for await (const chunk of incoming) chunks.push(chunk as Buffer);
      body = Buffer.concat(chunks);
    } catch {
      return; // The client broke off: nothing was received.
    }
    const url = new URL(incoming.url ?? '/', 'http://vendor');
    const request: VendorRequest = {
      order: this.requests.length + 1,
      method: incoming.method ?? '',
      path: url.pathname,
      query: url.searchParams,
      headers: incoming.headers,
      body: this.#options.keepBodies === false ? new Uint8Array(0) : body,
      bodyBytes: body.byteLength,
      bodySha256: sha256Hex(body),
      apiKey: String(incoming.headers['dd-api-key'] ?? url.searchParams.get('api_key') ?? ''),
      status: 0,
    };
    this.requests.push(request);
    const standard = this.#check(request, body);
    // A script that throws is a broken test: it shows as a 500 with the reason.
    let answer: VendorAnswer | undefined;
    try {
      if (standard.status < 400) answer = await this.#script?.(request);
    } catch (error) {
      answer = { status: 500, body: `script failed: ${String(error)}` };
    }
    if (answer?.delayMs) await new Promise((resolve) => setTimeout(resolve, answer.delayMs));
    this.#answer(request, response, { ...standard, ...answer });
    this.#settled.push(request);
    this.#wake();
  }

  #answer(request: VendorRequest, response: ServerResponse, answer: VendorAnswer & { status: number }): void {
    if (answer.hang) return;
    if (answer.reset) {
      response.socket?.resetAndDestroy();
      return;
    }
    const body = Buffer.from(answer.body ?? '');
    request.status = answer.status;
    response.writeHead(answer.status, {
      'content-type': 'application/json',
      ...answer.headers,
      'content-length': body.byteLength,
    });
    if (answer.cutAnswer) {
      response.flushHeaders();
      response.socket?.resetAndDestroy();
    } else response.end(body);
  }

  /** The standard answer, which is a refusal when the request is not as it must be. */
  #check(request: VendorRequest, body: Uint8Array): { status: number; body: string; headers: Record<string, string> } {
    const refuse = (status: number, kind: VendorViolation['kind'], detail: string) => {
      this.violations.push({ order: request.order, kind, detail: `${request.method} ${request.path}: ${detail}` });
      return { status, body: JSON.stringify({ errors: [detail] }), headers: {} };
    };
    const role = this.#options.role ?? 'datadog';
    const route = routeOf(role, request.method, request.path);
    if (!route) return refuse(404, 'path', 'no such route');
    if (role === 'datadog') {
      const inHeader = request.headers['dd-api-key'] !== undefined;
      const inPath = /^\/v1\/input\/([^/]+)$/.exec(request.path)?.[1];
      if (!inHeader && inPath !== undefined) request.apiKey = inPath;
      else if (!inHeader && !route.keyInQuery) request.apiKey = '';
      if (request.apiKey === '') return refuse(403, 'key', 'API key required');
      const known = this.#options.apiKeys;
      if (known && !known.includes(request.apiKey)) return refuse(403, 'key', 'Forbidden');
    }
    const declared = request.headers['content-length'];
    if (declared !== undefined && Number(declared) !== body.byteLength) {
      return refuse(400, 'length', `Content-Length ${declared} but ${body.byteLength} bytes`);
    }
    if (this.#options.checkBodies !== false) {
      try {
        const raw = body.byteLength === 0 ? body : decompress(body, String(request.headers['content-encoding'] ?? ''));
        checkForm(raw, route.form, String(request.headers['content-type'] ?? ''));
      } catch (error) {
        if (!(error instanceof BodyProblem)) throw error;
        const kind = error.message.startsWith('not well-formed') ? 'frame' : 'encoding';
        return refuse(error.status, kind, error.message);
      }
    }
    return { status: route.status, body: route.body, headers: { 'content-type': route.contentType } };
  }

  #wake(): void {
    for (const waiter of [...this.#waiters]) {
      if (this.#settled.filter(waiter.matches).length < waiter.count) continue;
      this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
      waiter.resolve();
    }
  }
}
