/**
 * Traces and APM stats: a body of any of their protocols → rows (one per span). Also the way back: a row → the span as JSON.
 * The shapes of rows are told in traces-sink.ts, the protocols in their own files.
 */
import { JsonScanner, JsonSyntaxError } from '../wire/json-scanner.ts';
import { MsgpackError, MsgpackReader } from '../wire/msgpack.ts';
import { ProtobufError } from '../wire/protobuf.ts';
import type { DecodeInput, DecodeResult } from './decoder.ts';
import { opaqueBatch } from './opaque.ts';
import { decodeTracesJson } from './traces-json.ts';
import { decodeV04, decodeV07 } from './traces-msgpack.ts';
import { decodeAgentPayload } from './traces-proto.ts';
import { SpanSink, TooManyRows } from './traces-sink.ts';
import { AGENT_LEVELS, CLIENT_LEVELS, countGroups } from './traces-stats.ts';
import { decodeV05 } from './traces-v05.ts';

export { renderPayload, renderSpan } from './traces-render.ts';

/** For the protocols whose names begin with `traces-` or `stats-`. Never throws on bad input. */
export function decodeTraces(input: DecodeInput): DecodeResult {
  try {
    return decode(input);
  } catch (error) {
    if (isMalformed(error)) return { ok: false, reason: error.message, offset: error.offset };
    throw error;
  }
}

function isMalformed(error: unknown): error is MsgpackError | ProtobufError | JsonSyntaxError {
  return error instanceof MsgpackError || error instanceof ProtobufError || error instanceof JsonSyntaxError;
}

function decode(input: DecodeInput): DecodeResult {
  const sink = new SpanSink(input.receivedAtMs);
  try {
    return decodeInto(input, sink);
  } catch (error) {
    if (!(error instanceof TooManyRows)) throw error;
    checkFraming(input);
    const batch = opaqueBatch('traces', input.body, input.receivedAtMs, 'body');
    return { ok: true, batch, itemCount: 1, opaqueCount: 1, holdsSecret: false };
  }
}

function decodeInto({ protocol, body }: DecodeInput, sink: SpanSink): DecodeResult {
  switch (protocol) {
    case 'traces-agent-proto':
      decodeAgentPayload(body, sink);
      return sink.finish();
    case 'traces-v04-json': {
      const scanner = new JsonScanner(body);
      decodeTracesJson(scanner, sink);
      if (!scanner.atEnd()) scanner.fail('content after the JSON value');
      return sink.finish();
    }
    case 'traces-v04-msgpack':
      return decodeMsgpack(body, sink, decodeV04);
    case 'traces-v05-msgpack':
      return decodeMsgpack(body, sink, decodeV05);
    case 'traces-v07-msgpack':
      return decodeMsgpack(body, sink, decodeV07);
    case 'stats-agent-msgpack':
    case 'stats-client-msgpack': {
      const reader = new MsgpackReader(body);
      const groups = countGroups(reader, protocol === 'stats-agent-msgpack' ? AGENT_LEVELS : CLIENT_LEVELS);
      expectEnd(reader);
      sink.addWhole('stats', body);
      return sink.finish(groups);
    }
    default:
      throw new Error(`BUG: ${protocol} is no protocol of traces`);
  }
}

function decodeMsgpack(
  body: Uint8Array,
  sink: SpanSink,
  read: (reader: MsgpackReader, sink: SpanSink) => void,
): DecodeResult {
  const reader = new MsgpackReader(body);
  read(reader, sink);
  expectEnd(reader);
  return sink.finish();
}

function expectEnd(reader: MsgpackReader): void {
  if (!reader.atEnd()) reader.fail('bytes after the msgpack value');
}

/** A body that is kept whole must still be framed. (A protobuf body has been passed field by field up to its end.) */
function checkFraming({ protocol, body }: DecodeInput): void {
  if (protocol === 'traces-v04-json') {
    const scanner = new JsonScanner(body);
    scanner.skipValue();
    if (!scanner.atEnd()) scanner.fail('content after the JSON value');
  } else if (protocol !== 'traces-agent-proto') {
    const reader = new MsgpackReader(body);
    reader.skip();
    expectEnd(reader);
  }
}
