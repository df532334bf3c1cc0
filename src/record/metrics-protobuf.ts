/**
 * Series (v2) and sketches in protobuf → rows. Columns are what the messages say; `raw` holds the message of an item that says
 * more: unknown fields at any depth, fields sent twice, invalid UTF-8, NaN payloads, times beyond the column.
 * Fields at their proto3 default and fields left out are the same thing; so is the order of unlike fields.
 *
 * `shape`: `#2` a series, `#s` a sketch, with `e` after it where there are no points. `#fields2`, `#fieldsS` and `#fields3`
 * (`raw` is top-level fields of a payload, tags included): payload rows and opaque rows. In them an API key is replaced by
 * its fingerprint.
 */
import { ProtobufReader } from '../wire/protobuf.ts';
import type { DecodeInput, DecodeResult } from './decoder.ts';
import { within } from './metrics-protobuf-fields.ts';
import { ProtobufItemReader } from './metrics-protobuf-item.ts';
import { bodyWithoutKey, withoutKey } from './metrics-protobuf-key.ts';
import { MetricRows, opaqueBody } from './metrics-rows.ts';

/** MetricPayload and SketchPayload. Throws ProtobufError. */
export function decodeMetricsProtobuf(input: DecodeInput): DecodeResult {
  const isSketches = input.protocol === 'sketches-proto';
  const reader = new ProtobufReader(input.body);
  const rows = new MetricRows(input.receivedAtMs);
  const items = new ProtobufItemReader(rows, reader);
  const shape = isSketches ? '#fieldsS' : '#fields2';
  const around: Uint8Array[] = [];
  let hasSecret = false;
  let understood = true;
  while (!reader.done()) {
    const start = reader.offset;
    const tag = reader.tag();
    if (tag === 0x0a) {
      const outer = reader.enter();
      if (isSketches) items.readSketch();
      else items.readSeries();
      reader.leave(outer);
      continue;
    }
    const field = reader.skipField(tag, start);
    if (isSketches && tag === 0x12) {
      const metadata = within(start, () => withoutKey(field));
      hasSecret ||= metadata !== field;
      around.push(metadata);
    } else {
      understood = false;
      around.push(field);
    }
  }
  if (around.length > 0) rows.addPayload(shape, Buffer.concat(around), understood);
  if (!rows.overflowed) return rows.finish(hasSecret);
  const body = hasSecret ? bodyWithoutKey(input.body) : input.body;
  return opaqueBody(input.receivedAtMs, shape, body, rows.itemCount, hasSecret);
}
