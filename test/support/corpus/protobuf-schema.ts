/**
 * Protobuf messages described in a few lines and handed to protobuf-es as descriptors, so that bodies are encoded by code that
 * shares nothing with ours. Field numbers are those of the published schemas that each user names.
 */
import { create, createFileRegistry, type DescMessage } from '@bufbuild/protobuf';
import {
  type DescriptorProto,
  DescriptorProtoSchema,
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FieldDescriptorProtoSchema,
  FileDescriptorProtoSchema,
  MessageOptionsSchema,
} from '@bufbuild/protobuf/wkt';

const SCALARS = {
  string: FieldDescriptorProto_Type.STRING,
  bytes: FieldDescriptorProto_Type.BYTES,
  bool: FieldDescriptorProto_Type.BOOL,
  double: FieldDescriptorProto_Type.DOUBLE,
  int32: FieldDescriptorProto_Type.INT32,
  sint32: FieldDescriptorProto_Type.SINT32,
  uint32: FieldDescriptorProto_Type.UINT32,
  int64: FieldDescriptorProto_Type.INT64,
  uint64: FieldDescriptorProto_Type.UINT64,
  fixed64: FieldDescriptorProto_Type.FIXED64,
};

/**
 * `name: 'number type'`, where type is a scalar or a message, `repeated` before it or not, or `map<type>` (keys are strings).
 */
export type MessageFields = Record<string, string>;

const FIELD = /^(\d+) (repeated )?(?:map<(\w+)>|(\w+))$/;

/** A lookup of the messages by name. */
export function messageTypes(
  packageName: string,
  messages: Record<string, MessageFields>,
): (name: string) => DescMessage {
  const file = create(FileDescriptorProtoSchema, {
    name: `${packageName}.proto`,
    package: packageName,
    syntax: 'proto3',
    messageType: Object.entries(messages).map(([name, fields]) => messageOf(packageName, name, fields)),
  });
  const registry = createFileRegistry(file, () => undefined);
  return (name) => {
    const found = registry.getMessage(`${packageName}.${name}`);
    if (!found) throw new Error(`no message ${name}`);
    return found;
  };
}

/** Members named as protobuf-es names them in messages (`trace_id` → `traceId`); of this object only, not of what it holds. */
export function members(value: object): object {
  const named = Object.entries(value).map(([key, one]) => [
    key.replace(/_(\w)/g, (_, c: string) => c.toUpperCase()),
    one,
  ]);
  return Object.fromEntries(named);
}

function messageOf(packageName: string, name: string, fields: MessageFields): DescriptorProto {
  const nested: DescriptorProto[] = [];
  const field = Object.entries(fields).map(([fieldName, text]) => {
    const [, number, repeated, mapValue, type] = FIELD.exec(text) ?? [];
    if (!number) throw new Error(`no field: ${text}`);
    if (mapValue === undefined) return fieldOf(packageName, fieldName, Number(number), type!, repeated !== undefined);
    const entry = `${fieldName[0]!.toUpperCase()}${fieldName.slice(1).replace(/_(\w)/g, (_, c: string) => c.toUpperCase())}Entry`;
    nested.push(
      create(DescriptorProtoSchema, {
        name: entry,
        field: [fieldOf(packageName, 'key', 1, 'string', false), fieldOf(packageName, 'value', 2, mapValue, false)],
        options: create(MessageOptionsSchema, { mapEntry: true }),
      }),
    );
    return fieldOf(packageName, fieldName, Number(number), `${name}.${entry}`, true);
  });
  return create(DescriptorProtoSchema, { name, field, nestedType: nested });
}

function fieldOf(packageName: string, name: string, number: number, type: string, isRepeated: boolean) {
  const scalar = SCALARS[type as keyof typeof SCALARS];
  return create(FieldDescriptorProtoSchema, {
    name,
    number,
    label: isRepeated ? FieldDescriptorProto_Label.REPEATED : FieldDescriptorProto_Label.OPTIONAL,
    type: scalar ?? FieldDescriptorProto_Type.MESSAGE,
    ...(scalar === undefined ? { typeName: `.${packageName}.${type}` } : {}),
  });
}
