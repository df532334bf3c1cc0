/**
 * Whether a body parses, as a server finds out that has no use for what is in it: JSON.parse, msgpackr, and protobufjs, which is the fastest of
 * the usual libraries for protobuf. Messages: agent-payload proto/metrics/agent_payload.proto, datadog-agent pkg/proto/datadog/trace.
 */
import { unpack } from 'msgpackr';
import protobuf from 'protobufjs';

const { root } = protobuf.parse(`
syntax = "proto3";
message Resource { string type = 1; string name = 2; }
message Point { double value = 1; int64 timestamp = 2; }
message Origin { int32 metric_type = 3; uint32 product = 4; uint32 category = 5; uint32 service = 6; }
message Metadata { Origin origin = 1; }
message Series {
  repeated Resource resources = 1; string metric = 2; repeated string tags = 3; repeated Point points = 4; int32 type = 5;
  string unit = 6; string source_type_name = 7; int64 interval = 8; Metadata metadata = 9;
}
message MetricPayload { repeated Series series = 1; }
message Dogsketch {
  int64 ts = 1; int64 cnt = 2; double min = 3; double max = 4; double avg = 5; double sum = 6;
  repeated sint32 k = 7; repeated uint32 n = 8;
}
message Sketch { string metric = 1; string host = 2; repeated string tags = 4; repeated Dogsketch dogsketches = 7; Metadata metadata = 8; }
message SketchPayload { repeated Sketch sketches = 1; bytes metadata = 2; }
message Span {
  string service = 1; string name = 2; string resource = 3; uint64 trace_id = 4; uint64 span_id = 5; uint64 parent_id = 6;
  int64 start = 7; int64 duration = 8; int32 error = 9; map<string, string> meta = 10; map<string, double> metrics = 11;
  string type = 12; map<string, bytes> meta_struct = 13; repeated bytes span_links = 14; repeated bytes span_events = 15;
}
message Chunk { int32 priority = 1; string origin = 2; repeated Span spans = 3; map<string, string> tags = 4; bool dropped = 5; }
message TracerPayload {
  string container_id = 1; string language_name = 2; string language_version = 3; string tracer_version = 4; string runtime_id = 5;
  repeated Chunk chunks = 6; map<string, string> tags = 7; string env = 8; string hostname = 9; string app_version = 10;
}
message AgentPayload {
  string host_name = 1; string env = 2; repeated TracerPayload tracer_payloads = 5; map<string, string> tags = 6;
  string agent_version = 7; double target_tps = 8; double error_tps = 9; bool rare_sampler_enabled = 10;
}
/* Others: any message parses as one without fields. */
message Any {}
`);

const MESSAGES = new Map([
  ['/api/v2/series', root.lookupType('MetricPayload')],
  ['/api/beta/sketches', root.lookupType('SketchPayload')],
  ['/api/v0.2/traces', root.lookupType('AgentPayload')],
]);
const ANY = root.lookupType('Any');

export function parses(bytes: Buffer, path: string, contentType: string): boolean {
  try {
    if (contentType.includes('json')) JSON.parse(bytes.toString('utf8'));
    else if (contentType.includes('msgpack')) unpack(bytes);
    else (MESSAGES.get(path) ?? ANY).decode(bytes);
    return true;
  } catch {
    return false;
  }
}
