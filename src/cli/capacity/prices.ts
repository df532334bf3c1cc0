/**
 * Defaults of the prices that `reductrai plan` counts with, in USD: rounded list prices, none of them a quotation. Each has an option. Discounts,
 * classes other than the standard one, retrieval fees, taxes and traffic between zones are not in them.
 */
export type Cloud = 's3' | 'gcs' | 'azure';

export interface Prices {
  /** Of one region, standard class. */
  storageGbMonth: { hot: number; warm: number; cold: number };
  /** PUTs and listings; S3 and GCS charge them alike. */
  millionPuts: number;
  millionGets: number;
  /** To the vendor, over the internet. */
  egressGb: number;
  cpuHour: number;
  source: string;
}

const all = (price: number): Prices['storageGbMonth'] => ({ hot: price, warm: price, cold: price });

/** Half of a common on-demand machine with two processors and 8 GiB. */
const CPU_HOUR = 0.05;

export const PRICES: Record<Cloud, Prices> = {
  s3: {
    storageGbMonth: all(0.023),
    millionPuts: 5,
    millionGets: 0.4,
    egressGb: 0.09,
    cpuHour: CPU_HOUR,
    source: 'rounded list prices of S3 Standard, us-east-1, March 2026',
  },
  gcs: {
    storageGbMonth: all(0.02),
    millionPuts: 5,
    millionGets: 0.4,
    egressGb: 0.12,
    cpuHour: CPU_HOUR,
    source: "rounded list prices of Google's pricing examples, Standard, us-east1, 2026",
  },
  azure: {
    storageGbMonth: all(0.018),
    millionPuts: 6.5,
    millionGets: 0.5,
    egressGb: 0.09,
    cpuHour: CPU_HOUR,
    source: 'rough list prices of Hot LRS, East US, 2026; requests are a guess at their magnitude',
  },
};
