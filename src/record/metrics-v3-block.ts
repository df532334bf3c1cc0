/**
 * The series and sketches of one v3 block → rows. References are resolved before the first item is written, so that a block is
 * written wholly or not at all.
 */
import { NULL_ID } from '../core/columns.ts';
import type { V3Columns } from '../wire/datadog/series-v3-columns.ts';
import { type MetricRows, TYPE_NAMES } from './metrics-rows.ts';
import {
  type Allowance,
  at,
  FLOAT32,
  FLOAT64,
  HAS_UNIT,
  OddBlock,
  resolved,
  resourceStartsOf,
  SINT64,
  SKETCH,
  tagsetsOf,
  valueTypeOf,
} from './metrics-v3-references.ts';

/** Seconds whose milliseconds are still exact. */
const SECONDS_MAX = Math.floor(Number.MAX_SAFE_INTEGER / 1000);

interface Resource {
  type: string;
  name: string;
}

/** What a payload adds to all of its series. */
export interface V3Metadata {
  tags: Set<string>;
  resources: Resource[];
  /** False: it says more than that. */
  exact: boolean;
}

interface ResourceSet {
  id: number;
  host: number;
  device: number;
}

export class V3Block {
  readonly #rows: MetricRows;
  readonly #columns: V3Columns;
  readonly #metadata: V3Metadata;
  readonly #allowance: Allowance;
  readonly #tagsets: number[][];
  readonly #tagsetIds: { id: number; added: number }[] = [];
  readonly #resourceStarts: number[];
  readonly #resourceSets: ResourceSet[] = [];
  // Cursors into the columns that points use up.
  #timestamp = 0;
  #nextTimestamp = 0;
  #nextSint = 0;
  #nextFloat = 0;
  #nextDouble = 0;
  #nextSketch = 0;
  #nextBin = 0;

  constructor(rows: MetricRows, columns: V3Columns, metadata: V3Metadata, allowance: Allowance) {
    this.#rows = rows;
    this.#columns = columns;
    this.#metadata = metadata;
    this.#allowance = allowance;
    this.#tagsets = tagsetsOf(columns, allowance);
    this.#resourceStarts = resourceStartsOf(columns);
  }

  /** References are checked before the first item is written, so that a block is written wholly or not at all. */
  add(): void {
    const { types } = this.#columns;
    const refs = this.#resolveRefs();
    const tags = refs.tagsets.map((ref) => this.#tagsetOf(ref));
    const resourceSets = refs.resources.map((ref) => this.#resourceSetOf(ref));
    const rows = this.#rows;
    let nextUnit = 0;
    for (let i = 0; i < types.length; i++) {
      const type = types[i]!;
      rows.beginItem();
      rows.metric = this.#idOf(rows.metrics, this.#columns.names[refs.names[i]!]!);
      rows.tags = tags[i]!.id;
      const resources = resourceSets[i]!;
      rows.resources = resources.id;
      rows.host = resources.host;
      rows.device = resources.device;
      rows.sourceTypeName = this.#idOf(rows.sourceTypeNames, this.#columns.sourceTypeNames[refs.sourceTypeNames[i]!]!);
      rows.metadata = this.#metadataId(refs.origins[i]!);
      if (Math.floor(type / HAS_UNIT) % 2 === 1) {
        rows.unit = this.#idOf(rows.units, this.#columns.units[refs.units[nextUnit]!]!);
        nextUnit += 1;
      }
      const interval = at(this.#columns.intervals, i);
      // Beyond 2^53 it was rounded, and the block is kept; beyond 2^63 it has no place in its column.
      rows.interval = interval === 0 || interval >= 2 ** 63 ? null : BigInt(interval);
      this.#addItem(i, type, tags[i]!.added);
    }
  }

  #addItem(index: number, type: number, tagsAdded: number): void {
    const rows = this.#rows;
    const metricType = type % 16;
    const points = at(this.#columns.pointCounts, index);
    const isSketch = metricType === SKETCH;
    rows.type = rows.types.intern(isSketch ? 'sketch' : (TYPE_NAMES[metricType] ?? String(metricType)));
    const valueType = valueTypeOf(type);
    for (let k = 0; k < points; k++) {
      if (isSketch) this.#addSketch(valueType);
      else rows.addValue(this.#nextTime(), this.#nextValue(valueType));
    }
    const { length } = this.#metadata.resources;
    let shape = `#3:${BigInt(type)}`;
    if (tagsAdded > 0) shape += `:t${tagsAdded}`;
    if (length > 0) shape += `:r${length}`;
    if (points === 0) shape += ':e';
    rows.endItem(isSketch ? 'sketch' : 'series', shape, undefined);
  }

  #addSketch(valueType: number): void {
    const columns = this.#columns;
    const time = this.#nextTime();
    const sum = this.#nextValue(valueType);
    const min = this.#nextValue(valueType);
    const max = this.#nextValue(valueType);
    const count = columns.sints[this.#nextSint]!;
    this.#nextSint += 1;
    const bins = columns.binCounts[this.#nextSketch]!;
    this.#nextSketch += 1;
    const end = this.#nextBin + bins;
    const keys: number[] = [];
    let key = 0;
    for (let i = this.#nextBin; i < end; i++) {
      key += columns.binKeys[i]!;
      keys.push(key);
      if (!Number.isSafeInteger(key)) columns.exact = false;
    }
    const counts = columns.bins.slice(this.#nextBin, end);
    this.#nextBin = end;
    this.#rows.addSketch(time, {
      count: BigInt.asIntN(64, BigInt(count)),
      min,
      max,
      avg: count === 0 ? 0 : sum / count,
      sum,
      keys: bins === 0 ? null : `[${keys.join(',')}]`,
      counts: bins === 0 ? null : `[${counts.join(',')}]`,
    });
  }

  /** Milliseconds; NaN where the column cannot hold them. */
  #nextTime(): number {
    this.#timestamp += this.#columns.timestamps[this.#nextTimestamp]!;
    this.#nextTimestamp += 1;
    const seconds = this.#timestamp;
    if (seconds >= -SECONDS_MAX && seconds <= SECONDS_MAX) return seconds * 1000;
    this.#columns.exact = false;
    return Number.NaN;
  }

  #nextValue(valueType: number): number {
    switch (valueType) {
      case SINT64:
        this.#nextSint += 1;
        return this.#columns.sints[this.#nextSint - 1]!;
      case FLOAT32:
        this.#nextFloat += 1;
        return this.#columns.floats[this.#nextFloat - 1]!;
      case FLOAT64:
        this.#nextDouble += 1;
        return this.#columns.doubles[this.#nextDouble - 1]!;
      default:
        return 0;
    }
  }

  #resolveRefs() {
    const columns = this.#columns;
    const count = columns.types.length;
    return {
      names: resolved(columns.nameRefs, count, columns.names.length),
      tagsets: resolved(columns.tagsetRefs, count, this.#tagsets.length),
      resources: resolved(columns.resourcesRefs, count, this.#resourceStarts.length),
      sourceTypeNames: resolved(columns.sourceTypeNameRefs, count, columns.sourceTypeNames.length),
      origins: resolved(columns.originRefs, count, columns.origins.length / 3 + 1),
      units: resolved(columns.unitRefs, columns.unitRefs.length, columns.units.length),
    };
  }

  #idOf(writer: MetricRows['metrics'], text: string): number {
    return text === '' ? NULL_ID : writer.intern(text);
  }

  #tagsetOf(ref: number): { id: number; added: number } {
    const known = this.#tagsetIds[ref];
    if (known) return known;
    const { tagStrings } = this.#columns;
    const tags = this.#tagsets[ref]!.map((index) => tagStrings[index]!);
    const own = tags.length;
    if (this.#metadata.tags.size > 0) {
      const present = new Set(tags);
      for (const tag of this.#metadata.tags) if (!present.has(tag)) tags.push(tag);
    }
    for (const tag of tags) this.#countText(tag);
    const resolvedTags = {
      id: tags.length === 0 ? NULL_ID : this.#rows.tagLists.intern(JSON.stringify(tags)),
      added: tags.length - own,
    };
    this.#tagsetIds[ref] = resolvedTags;
    return resolvedTags;
  }

  #metadataId(origin: number): number {
    if (origin === 0) return NULL_ID;
    const { origins } = this.#columns;
    const members = ['origin_product', 'origin_category', 'origin_service']
      .map((name, i) => [name, origins[(origin - 1) * 3 + i]!] as const)
      .filter(([, value]) => value !== 0)
      .map(([name, value]) => `"${name}":${value}`);
    return this.#rows.metadatas.intern(`{"origin":{${members.join(',')}}}`);
  }

  #resourceSetOf(ref: number): ResourceSet {
    const known = this.#resourceSets[ref];
    if (known) return known;
    const { resourceLengths, resourceTypes, resourceNames, resourceStrings } = this.#columns;
    const rows = this.#rows;
    const resources: Resource[] = [];
    if (ref > 0) {
      const start = this.#resourceStarts[ref]!;
      const length = resourceLengths[ref - 1]!;
      const types = resolved(resourceTypes.slice(start, start + length), length, resourceStrings.length);
      const names = resolved(resourceNames.slice(start, start + length), length, resourceStrings.length);
      for (let i = 0; i < length; i++) {
        resources.push({ type: resourceStrings[types[i]!]!, name: resourceStrings[names[i]!]! });
      }
    }
    for (const resource of this.#metadata.resources) resources.push(resource);
    for (const { type, name } of resources) {
      this.#countText(type);
      this.#countText(name);
    }
    const host = resources.find(({ type }) => type === 'host');
    const device = resources.find(({ type }) => type === 'device');
    // Keys at their default are left out, as in resources of v2.
    const texts = resources.map(({ type, name }) =>
      JSON.stringify({ ...(type === '' ? {} : { type }), ...(name === '' ? {} : { name }) }),
    );
    const set = {
      id: texts.length === 0 ? NULL_ID : rows.resourceLists.intern(`[${texts.join(',')}]`),
      host: this.#idOf(rows.hosts, host?.name ?? ''),
      device: this.#idOf(rows.devices, device?.name ?? ''),
    };
    this.#resourceSets[ref] = set;
    return set;
  }

  /** Few references may stand for very much text. */
  #countText(text: string): void {
    this.#allowance.text -= text.length + 3;
    if (this.#allowance.text < 0) throw new OddBlock('tags and resources are too long when written out');
  }
}
