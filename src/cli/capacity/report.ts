/** A plan as text. Two or three digits: more would pretend to know. */
import { formatTable } from '../../query/table.ts';
import { GB, KINDS, type Kind, type Load, MIB, type Plan } from './arithmetic.ts';

export interface Report {
  load: Load;
  plan: Plan;
  peak: number;
  isForwarding: boolean;
  /** With DURABILITY=disk: what the journal may hold now. */
  budgetBytes: number;
  notes: readonly string[];
}

const NAMES: Record<Kind, string> = { points: 'points', logs: 'logs', spans: 'spans', sketches: 'sketches' };

export function reportOf({ load, plan, peak, isForwarding, budgetBytes, notes }: Report, columns: number): string {
  const { replicas, journal, requests, bytes, tiers, vendor, cost } = plan;
  const kinds = KINDS.filter((kind) => load[kind] > 0);
  const come = kinds.map((kind) =>
    kind === 'logs' ? `${count(load.logs / 1e6)} MB/s of logs` : `${count(load[kind])} ${NAMES[kind]}/s`,
  );
  const facts: [string, string][] = [
    ['load', `${come.join(', ')}; at the peak ${count(peak)} times that`],
    [
      'replicas',
      `${replicas.count}: ${replicas.needed} carry the peak; ${replicas.zones === 1 ? 'one' : `a zone of ${replicas.zones}`} may be lost`,
    ],
    ['each', `${count(replicas.cpuEach)} CPUs, ${count(replicas.memoryBytesEach / MIB)} MiB of memory`],
    ['CPUs busy', `${count(replicas.cpuBusyAtPeak)} at the peak, in all`],
    ['journal', journalText(journal, budgetBytes)],
    ['received', `${size(bytes.received)} a month as sent; ${size(bytes.raw)} raw`],
    ['stored', `${size(bytes.stored)} a month as first written`],
    [
      'to the vendor',
      isForwarding
        ? `${size(vendor.bytesPerMonth)} a month, all of it, as received; up to ${size(vendor.backlogBytesMax)} wait in journals and store when it is away`
        : 'nothing, as these settings are',
    ],
    [
      'requests',
      `${millions(requests.puts)} PUTs a month (chunks ${millions(requests.chunks)}, segments ${millions(requests.segments)}, upkeep ${millions(requests.upkeep)}, leases ${millions(requests.leases)}), ${millions(requests.lists)} listings, ${millions(requests.gets)} GETs`,
    ],
  ];
  const width = Math.max(...facts.map(([name]) => name.length));
  const parts = [facts.map(([name, text]) => `${name.padEnd(width)}  ${text}\n`).join('')];
  const header = ['tier', 'days', ...kinds.map((kind) => NAMES[kind]), 'all'];
  const rows = tiers.map(({ tier, fromDays, toDays, byKind, bytes: all }) => [
    tier,
    `${fromDays}–${toDays}`,
    ...kinds.map((kind) => size(byKind[kind])),
    size(all),
  ]);
  parts.push(formatTable(header, [...rows, ['all', '', ...kinds.map(() => ''), size(plan.keptBytes)]], columns));
  if (cost) {
    const names = ['storage', 'requests', 'cpu', 'egress', 'total'] as const;
    const amounts = names.map((name) => [name, money(cost[name])]);
    parts.push(formatTable(['a month', `${cost.currency} (${cost.cloud})`], amounts, columns));
  }
  return `${parts.join('\n')}\n${notes.map((note) => `- ${note}\n`).join('')}`;
}

function journalText(
  { durability, bytesPerSecondEach, outageHours, diskBytesEach }: Plan['journal'],
  budget: number,
): string {
  const fast = `${size(bytesPerSecondEach)}/s a replica at the peak`;
  if (durability === 'store') return `in the store; ${fast}; no disk needed but for caches of queries`;
  if (durability === 'memory') return `in memory: nothing survives; ${fast}`;
  const enough = diskBytesEach <= budget;
  const gib = Math.max(1, Math.ceil(diskBytesEach / (1024 * MIB)));
  return `${size(diskBytesEach)} of disk a replica, for ${count(outageHours)} h at ${fast}${enough ? '' : `: set REDUCTRAI_JOURNAL_BUDGET_BYTES=${gib}GiB`}`;
}

/** Up to three digits. */
function count(value: number): string {
  if (value === 0) return '0';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(value)));
  return value.toLocaleString('en-US', { maximumFractionDigits: Math.min(6, digits) });
}

function size(bytes: number): string {
  if (bytes >= 1000 * GB) return `${count(bytes / (1000 * GB))} TB`;
  if (bytes >= GB) return `${count(bytes / GB)} GB`;
  return bytes >= 1e6 ? `${count(bytes / 1e6)} MB` : `${count(bytes / 1e3)} kB`;
}

function millions(requests: number): string {
  return `${count(Math.round(requests / 1e3) / 1e3)} million`;
}

function money(amount: number): string {
  if (amount === 0) return '0';
  return amount < 10 ? amount.toFixed(1) : Math.round(amount).toLocaleString('en-US');
}
