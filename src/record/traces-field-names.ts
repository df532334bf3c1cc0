/** Names of a span's fields and of what else is looked for by name, as bytes of the body. */
import {
  DURATION,
  ERROR,
  META,
  META_STRUCT,
  METRICS,
  NAME,
  PARENT_ID,
  RESOURCE,
  SERVICE,
  SPAN_EVENTS,
  SPAN_FIELDS,
  SPAN_ID,
  SPAN_LINKS,
  START,
  TRACE_ID,
  TYPE,
} from './traces-sink.ts';

const NAMES = SPAN_FIELDS.map((name) => Buffer.from(name));

export function equals(bytes: Buffer, start: number, stop: number, name: Buffer): boolean {
  if (stop - start !== name.length) return false;
  for (let i = 0; i < name.length; i++) if (bytes[start + i] !== name[i]) return false;
  return true;
}

/** Index of the span field named bytes[start, stop); −1 when there is none of this name. */
export function fieldNamed(bytes: Buffer, start: number, stop: number): number {
  let field: number;
  const first = bytes[start];
  switch (stop - start) {
    case 4:
      field = first === 0x6d ? META : first === 0x6e ? NAME : TYPE;
      break;
    case 5:
      field = first === 0x73 ? START : ERROR;
      break;
    case 7:
      field = first === 0x6d ? METRICS : bytes[start + 1] === 0x70 ? SPAN_ID : SERVICE;
      break;
    case 8:
      field = first === 0x74 ? TRACE_ID : first === 0x64 ? DURATION : RESOURCE;
      break;
    case 9:
      field = PARENT_ID;
      break;
    case 10:
      field = SPAN_LINKS;
      break;
    case 11:
      field = first === 0x6d ? META_STRUCT : SPAN_EVENTS;
      break;
    default:
      return -1;
  }
  return equals(bytes, start, stop, NAMES[field]!) ? field : -1;
}
