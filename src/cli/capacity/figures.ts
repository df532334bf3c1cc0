/**
 * Measured figures that `reductrai plan` counts with. Each follows from a committed result of the benchmarks, and
 * test/cli/capacity-figures.test.ts recomputes all of them from that file, so none can go stale.
 *
 * Sizes are medians over the sources of the corpus with 500 items or more; what a fleet sends may lie anywhere between `low` and `high`, or
 * outside. `npm run bench -- --payloads DIR` measures one's own data.
 */
export const SOURCES = {
  sizes: 'bench/results/2026-11-22-sizes.json',
  load: 'bench/results/2026-11-22-load.json',
} as const;

export interface Spread {
  median: number;
  low: number;
  high: number;
}

/** Stored bytes by what wrote them: new segments at each level, merged cold ones in each layout. `heavy` stands for the warm tier too. */
export type StoredBytes = Record<'light' | 'medium' | 'heavy' | 'plain' | 'packed', Spread>;

/** Per point, per span. */
export const STORED_BYTES_PER_POINT: StoredBytes = {
  light: { median: 2.67, low: 0.365, high: 8.34 },
  medium: { median: 2.43, low: 0.345, high: 8.2 },
  heavy: { median: 2.26, low: 0.307, high: 7.4 },
  plain: { median: 2.3, low: 0.279, high: 7.49 },
  packed: { median: 1.52, low: 0.241, high: 5.82 },
};

export const STORED_BYTES_PER_SPAN: StoredBytes = {
  light: { median: 57.9, low: 23.2, high: 62.1 },
  medium: { median: 57.2, low: 23.1, high: 60.5 },
  heavy: { median: 49.5, low: 22.2, high: 54.8 },
  plain: { median: 47.7, low: 22.2, high: 52.7 },
  packed: { median: 40.6, low: 17.7, high: 52.7 },
};

/** Per byte of the raw bodies (JSON, decompressed). */
export const STORED_SHARE_OF_LOGS: StoredBytes = {
  light: { median: 0.0335, low: 0.0243, high: 0.0565 },
  medium: { median: 0.0346, low: 0.0208, high: 0.0559 },
  heavy: { median: 0.0289, low: 0.0157, high: 0.0484 },
  plain: { median: 0.0251, low: 0.0156, high: 0.0427 },
  packed: { median: 0.0141, low: 0.00927, high: 0.0344 },
};

/** Bodies as an agent makes them, before Content-Encoding: protobuf of series v2, of agent traces; sketches of the generator. */
export const RAW_BYTES = { point: 134, span: 832, sketch: 303 } as const;

/** Stored by raw bytes of the generator's mix of series and sketches: no source of the corpus has sketches. */
export const STORED_SHARE_OF_SKETCHES = 0.0713;

/**
 * CPU seconds of the whole process, from the first byte to the segment and the delivery: `disk/forward` of `corpus-series-proto` (some 570 points a body)
 * and `corpus-logs-json`. Spans and sketches: as points, times what longer they need, by the size table (from body to segment) and by its stage `decode`.
 * Durability `store` is counted with the same figures: its case waits for chunks, and has no load to speak of.
 */
export const CPU_SECONDS = {
  perMillionPoints: 1.38,
  perMillionSketches: 14.5,
  perMillionSpans: 20.2,
  perGbOfLogs: 8.44,
} as const;
