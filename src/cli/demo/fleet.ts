/**
 * The made-up company whose telemetry the demo sends: hosts, services, and numbers that move as real ones do. Everything follows from
 * the seed, so that equal seeds give equal bytes.
 */
import { type Random, seededRandom } from '../../core/random.ts';

export interface Service {
  name: string;
  language: string;
  version: string;
  /** Resource and typical duration in ms. */
  endpoints: readonly (readonly [resource: string, typicalMs: number])[];
  database: string;
  /** Share of requests that fail. */
  errorShare: number;
}

export interface Host {
  name: string;
  zone: string;
  tags: readonly string[];
}

export const SERVICES: readonly Service[] = [
  {
    name: 'web-store',
    language: 'nodejs',
    version: '4.18.2',
    endpoints: [
      ['GET /', 18],
      ['GET /products/:id', 32],
      ['POST /cart', 41],
    ],
    database: 'redis',
    errorShare: 0.01,
  },
  {
    name: 'checkout',
    language: 'jvm',
    version: '2.7.0',
    endpoints: [
      ['POST /checkout', 180],
      ['GET /checkout/:id', 25],
    ],
    database: 'postgres',
    errorShare: 0.04,
  },
  {
    name: 'payments',
    language: 'go',
    version: '1.31.4',
    endpoints: [
      ['POST /v1/charges', 240],
      ['POST /v1/refunds', 210],
    ],
    database: 'postgres',
    errorShare: 0.06,
  },
  {
    name: 'search',
    language: 'python',
    version: '0.92.1',
    endpoints: [
      ['GET /search', 65],
      ['GET /suggest', 9],
    ],
    database: 'elasticsearch',
    errorShare: 0.005,
  },
  {
    name: 'users',
    language: 'ruby',
    version: '3.3.0',
    endpoints: [
      ['POST /login', 90],
      ['GET /users/:id', 12],
    ],
    database: 'postgres',
    errorShare: 0.02,
  },
];

const ZONES = ['eu-central-1a', 'eu-central-1b', 'eu-central-1c'];
const HEX = '0123456789abcdef';

export class Fleet {
  readonly hosts: readonly Host[];
  readonly #random: Random;
  readonly #walks = new Map<string, number>();

  constructor(seed: number, hostCount: number) {
    this.#random = seededRandom(seed);
    this.hosts = Array.from({ length: hostCount }, (_, i) => {
      const zone = ZONES[i % ZONES.length]!;
      return {
        name: `ip-10-2-${i >> 5}-${10 + (i & 31)}.eu-central-1.compute.internal`,
        zone,
        tags: [
          'env:prod',
          'team:shop',
          `availability-zone:${zone}`,
          `instance-type:${i % 4 === 0 ? 'm6i.2xlarge' : 'c6i.xlarge'}`,
        ],
      };
    });
  }

  chance(share: number): boolean {
    return this.#random.next() < share;
  }

  /** A whole number from `least` to `most`, both inclusive. */
  whole(least: number, most: number): number {
    return least + Math.floor(this.#random.next() * (most - least + 1));
  }

  pick<T>(values: readonly T[]): T {
    return values[Math.floor(this.#random.next() * values.length)]!;
  }

  /** Skewed to the right, as durations are: the median is `typical`. */
  skewed(typical: number): number {
    const normal = this.#random.next() + this.#random.next() + this.#random.next() - 1.5;
    return typical * Math.exp(normal * 1.2);
  }

  /** A value that changes a little from call to call, and in half of the calls not at all. */
  walk(key: string, least: number, most: number): number {
    const range = most - least;
    const known = this.#walks.get(key) ?? least + range * (0.2 + 0.5 * this.#random.next());
    if (this.#random.next() < 0.5) return this.#keep(key, known);
    return this.#keep(key, Math.min(most, Math.max(least, known + range * 0.03 * (this.#random.next() - 0.5))));
  }

  /** A total that only grows. */
  total(key: string, stepMax: number): number {
    return this.#keep(key, (this.#walks.get(key) ?? this.whole(0, 1_000_000)) + this.whole(0, stepMax));
  }

  hex(digits: number): string {
    let text = '';
    for (let i = 0; i < digits; i++) text += HEX[this.whole(0, 15)]!;
    return text;
  }

  /** 63 bits and never 0, as trace and span ids are. */
  id(): bigint {
    return (BigInt(this.whole(0, 0x7fffffff)) << 32n) | BigInt(this.whole(1, 0xffffffff));
  }

  #keep(key: string, value: number): number {
    this.#walks.set(key, value);
    return value;
  }
}
