/** Names of a span's fields and of what else is looked for by name, as bytes of the body. */
import * as SPAN from './traces-fields.ts';

const NAMES = SPAN.FIELDS.map((name) => Buffer.from(name));

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
      field = first === 0x6d ? SPAN.META : first === 0x6e ? SPAN.NAME : SPAN.TYPE;
      break;
    case 5:
      field = first === 0x73 ? SPAN.START : SPAN.ERROR;
      break;
    case 7:
      field = first === 0x6d ? SPAN.METRICS : bytes[start + 1] === 0x70 ? SPAN.SPAN_ID : SPAN.SERVICE;
      break;
    case 8:
      field = first === 0x74 ? SPAN.TRACE_ID : first === 0x64 ? SPAN.DURATION : SPAN.RESOURCE;
      break;
    case 9:
      field = SPAN.PARENT_ID;
      break;
    case 10:
      field = SPAN.SPAN_LINKS;
      break;
    case 11:
      field = first === 0x6d ? SPAN.META_STRUCT : SPAN.SPAN_EVENTS;
      break;
    default:
      return -1;
  }
  return equals(bytes, start, stop, NAMES[field]!) ? field : -1;
}
