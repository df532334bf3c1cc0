/**
 * APM stats (agent and tracer form): forwarded whole and never recomputed, so they are kept whole as well: one row, the body in
 * `raw`. Only the groups are counted. Source: datadog-agent pkg/proto/pbgo/trace/stats_gen.go (PascalCase keys).
 */
import type { MsgpackReader } from '../wire/msgpack.ts';

/** `Stats` lists above the groups: payloads → buckets → groups in the agent's form, buckets → groups in the tracer's. */
export const AGENT_LEVELS = 3;
export const CLIENT_LEVELS = 2;

/** Passes the stats payload at the cursor and counts its groups; 1 where it is no map. */
export function countGroups(reader: MsgpackReader, levels: number): number {
  if (reader.type() === 'map') return groupsOf(reader, levels);
  reader.skip();
  return 1;
}

function groupsOf(reader: MsgpackReader, levels: number): number {
  const pairs = reader.enterMap();
  if (pairs === undefined) {
    reader.skip();
    return 0;
  }
  let groups = 0;
  for (let i = 0; i < pairs; i++) {
    const key = reader.readString();
    if (key === undefined) reader.skip();
    const count = key === 'Stats' ? reader.enterArray() : undefined;
    if (count === undefined) {
      reader.skip();
    } else if (levels === 1) {
      groups += count;
      for (let group = 0; group < count; group++) reader.skip();
    } else {
      for (let item = 0; item < count; item++) groups += groupsOf(reader, levels - 1);
    }
  }
  return groups;
}
