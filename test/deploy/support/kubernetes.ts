/**
 * Kubernetes objects as `kustomize build` and `helm template` print them: checked by kubeconform against schemas from package registries
 * (Kubernetes' own from kubernetes-validate, those of the operators made here from their CRDs), and looked into.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';
import { installed, pass, SCHEMAS } from './tools.ts';

/** The oldest that the chart takes, and the newest that there are schemas of. */
export const VERSIONS = ['1.27.0', '1.37.0'] as const;

// biome-ignore lint/suspicious/noExplicitAny: what tools print, looked into by tests that say what they expect.
export type Kubernetes = Record<string, any>;

export function objectsOf(text: string): Kubernetes[] {
  return parseAllDocuments(text)
    .map((document) => document.toJS() as Kubernetes | null)
    .filter((object) => object !== null);
}

export function only(objects: readonly Kubernetes[], kind: string, name?: string): Kubernetes {
  const found = objects.filter((one) => one.kind === kind && (name === undefined || one.metadata.name === name));
  if (found.length !== 1) throw new Error(`${found.length} of ${kind} ${name ?? ''}`);
  return found[0]!;
}

type Schema = Record<string, unknown> & { properties?: Record<string, Schema>; items?: Schema };

/** As the API server takes it: strict where properties are named, `int-or-string` and `nullable` in words of JSON Schema. */
function jsonSchemaOf(schema: Schema): Schema {
  const { properties, items, ...rest } = schema;
  const made: Schema = { ...rest };
  if (properties) {
    made.properties = Object.fromEntries(Object.entries(properties).map(([name, one]) => [name, jsonSchemaOf(one)]));
    if (rest.additionalProperties === undefined && rest['x-kubernetes-preserve-unknown-fields'] !== true) {
      made.additionalProperties = false;
    }
  } else if (typeof rest.additionalProperties === 'object') {
    made.additionalProperties = jsonSchemaOf(rest.additionalProperties as Schema);
  }
  if (items) made.items = jsonSchemaOf(items);
  if (rest['x-kubernetes-int-or-string'] === true) made.type = ['integer', 'string'];
  if (rest.nullable === true && typeof made.type === 'string') made.type = [made.type, 'null'];
  // Formats that only Go knows, and patterns in Go's dialect.
  delete made.format;
  return made;
}

const METADATA: Schema = { type: 'object' };

/** Writes `<group>/<kind>_<version>.json` for each CRD of the installed schemas. */
export async function writeCrdSchemas(folder: string): Promise<void> {
  for (const name of readdirSync(installed(SCHEMAS)).filter((name) => name.endsWith('.yaml'))) {
    const { spec } = parse(readFileSync(join(SCHEMAS, name), 'utf8'));
    for (const { name: version, schema } of spec.versions) {
      const made = jsonSchemaOf(schema.openAPIV3Schema);
      made.properties = { ...made.properties, metadata: METADATA };
      const file = join(folder, spec.group, `${spec.names.kind.toLowerCase()}_${version}.json`);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, JSON.stringify(made));
    }
  }
}

/** Rejects with kubeconform's findings; kinds without a schema are a finding, too. */
export async function conform(text: string, version: string, crdFolder: string): Promise<void> {
  const crds = `${crdFolder}/{{.Group}}/{{.ResourceKind}}_{{.ResourceAPIVersion}}.json`;
  const native = join(SCHEMAS, `kubernetes-${version}`, '{{.ResourceKind}}{{.KindSuffix}}.json');
  const locations = [native, crds].flatMap((location) => ['-schema-location', location]);
  await pass('kubeconform', ['-strict', '-summary', ...locations, '-'], { input: text });
}

/** What the container's environment comes to: from ConfigMaps, from Secrets (a made-up value, where `hasSecrets`), and by itself. */
export function environmentOf(
  container: Kubernetes,
  objects: readonly Kubernetes[],
  hasSecrets: boolean,
): Record<string, string> {
  const env: Record<string, string> = {};
  for (const { configMapRef } of container.envFrom ?? []) {
    Object.assign(env, only(objects, 'ConfigMap', configMapRef.name).data);
  }
  for (const { name, value, valueFrom } of container.env ?? []) {
    if (value !== undefined) env[name] = value;
    else if (valueFrom.fieldRef) env[name] = 'reductrai-proxy-0';
    else if (hasSecrets || !valueFrom.secretKeyRef.optional) env[name] = secretOf(name);
  }
  return env;
}

/** Keys of 32 bytes where such are asked for. */
function secretOf(name: string): string {
  return /SEAL_KEY|ENCRYPTION_KEY/.test(name) ? Buffer.alloc(32, 7).toString('base64') : 'made-up-secret';
}
