/**
 * The settings of senders in docs/migration.md: they parse, use names that the senders know, and nothing of them still points at Datadog. Names are from the senders' own sources; what can be run is run by commands.test.ts.
 */
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { allBlocks, placeOf } from './support/blocks.ts';

const HOST = 'telemetry.example.com';
const URL_OF_ALL = `https://${HOST}`;

const blocks = allBlocks();

function textOf(client: string): string {
  const found = blocks.filter(({ markers }) => markers.includes(`client: ${client}`));
  expect(found.map(placeOf), client).toHaveLength(1);
  return found[0]!.text;
}

function variablesOf(client: string): Record<string, string> {
  const lines = textOf(client).split('\n');
  return Object.fromEntries(
    lines.map((line) => {
      const found = /^([A-Z][A-Z0-9_]*)=(\S+)$/.exec(line);
      expect(found, line).not.toBeNull();
      return [found![1]!, found![2]!];
    }),
  );
}

test('no setting of a sender points at Datadog itself', () => {
  const clients = blocks.filter(({ markers }) => markers.some((marker) => marker.startsWith('client: ')));
  expect(clients.length).toBeGreaterThan(6);
  for (const block of clients) {
    expect(block.text, placeOf(block)).not.toMatch(/datadoghq|ddog-gov/);
    expect(block.text, placeOf(block)).toContain(HOST);
  }
});

describe('Datadog Agent', () => {
  test('the variables are those of the keys', () => {
    const variables = variablesOf('agent-env');
    expect(variables).toEqual({
      DD_DD_URL: URL_OF_ALL,
      DD_LOGS_CONFIG_LOGS_DD_URL: URL_OF_ALL,
      DD_APM_DD_URL: URL_OF_ALL,
    });
    expect(parse(textOf('agent-yaml'))).toEqual({
      dd_url: URL_OF_ALL,
      logs_config: { logs_dd_url: URL_OF_ALL },
      apm_config: { apm_dd_url: URL_OF_ALL },
    });
  });

  test('twice: URLs with keys; of logs a host and a port', () => {
    const { additional_endpoints, apm_config, logs_config } = parse(textOf('agent-dual'));
    const keys = { [URL_OF_ALL]: [expect.stringMatching(/^[0-9a-f]{32}$/)] };
    expect(additional_endpoints).toEqual(keys);
    expect(apm_config).toEqual({ additional_endpoints: keys });
    expect(logs_config.additional_endpoints).toEqual([
      { api_key: expect.any(String), Host: HOST, Port: 443, is_reliable: false },
    ]);
  });
});

test('AWS Lambda: the extension takes no path, the Forwarder no scheme', () => {
  const extension = variablesOf('lambda-extension');
  expect(Object.keys(extension)).toEqual(['DD_DD_URL', 'DD_LOGS_CONFIG_LOGS_DD_URL', 'DD_APM_DD_URL']);
  for (const url of Object.values(extension)) expect(url).toMatch(/^https?:\/\/[A-Za-z0-9._:-]+$/);
  const forwarder = variablesOf('lambda-forwarder');
  expect(Object.keys(forwarder)).toEqual(['DD_URL', 'DD_PORT', 'DD_API_URL', 'DD_TRACE_INTAKE_URL']);
  expect(forwarder.DD_URL).toBe(HOST);
  expect(forwarder.DD_API_URL).toBe(URL_OF_ALL);
});

test('Fluent Bit', () => {
  const { pipeline } = parse(textOf('fluent-bit'));
  expect(pipeline.outputs).toEqual([
    expect.objectContaining({ name: 'datadog', host: HOST, port: 443, compress: 'gzip', apikey: expect.any(String) }),
  ]);
});

test('Vector', () => {
  const { sinks } = parse(textOf('vector'));
  expect(Object.keys(sinks)).toEqual(['datadog_logs', 'datadog_metrics', 'datadog_traces']);
  for (const [name, sink] of Object.entries<Record<string, unknown>>(sinks)) {
    expect(sink).toEqual({
      type: name,
      inputs: expect.any(Array),
      endpoint: URL_OF_ALL,
      default_api_key: expect.any(String),
    });
  }
});

test('OpenTelemetry Collector', () => {
  const { datadog } = parse(textOf('otel')).exporters;
  expect(Object.keys(datadog)).toEqual(['api', 'metrics', 'traces', 'logs']);
  for (const signal of ['metrics', 'traces', 'logs']) expect(datadog[signal]).toEqual({ endpoint: URL_OF_ALL });
});
