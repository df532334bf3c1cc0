/** A Dockerfile's stages and instructions, as far as ours uses the language; what is not understood is an error, never left out. */

export interface Instruction {
  /** In capitals. */
  name: string;
  /** Joined to one line, without comments. */
  text: string;
}

export interface Stage {
  from: string;
  /** `AS …`; the last one has none. */
  as: string | undefined;
  instructions: Instruction[];
}

export function stagesOf(dockerfile: string): Stage[] {
  const lines = dockerfile
    .split('\n')
    .filter((line) => !/^\s*#/.test(line))
    .join('\n')
    .replace(/\s*\\\n\s*/g, ' ')
    .split('\n')
    .filter((line) => line.trim() !== '');
  const stages: Stage[] = [];
  for (const line of lines) {
    const [, name, text] = /^([A-Z]+)\s+(.*)$/.exec(line) ?? [];
    if (name === undefined || text === undefined) throw new Error(`not understood: ${line}`);
    if (name === 'FROM') {
      const [, from, as] = /^(\S+)(?: AS (\S+))?$/.exec(text) ?? [];
      if (from === undefined) throw new Error(`not understood: ${line}`);
      stages.push({ from, as, instructions: [] });
    } else if (stages.length === 0) throw new Error(`before the first FROM: ${line}`);
    else stages.at(-1)!.instructions.push({ name, text });
  }
  return stages;
}

/** `A=1 B="two words"`; `$NAME` and `${NAME}` are put in from what is known. */
export function pairsOf(text: string, known: Readonly<Record<string, string>>): Record<string, string> {
  const pairs: Record<string, string> = {};
  const rest = text.replace(/([\w.]+)=(?:"([^"]*)"|(\S*))\s*/g, (_, name: string, quoted?: string, bare?: string) => {
    pairs[name] = (quoted ?? bare ?? '').replace(/\$(?:\{(\w+)\}|(\w+))/g, (_, a?: string, b?: string) => {
      const value = known[(a ?? b)!];
      if (value === undefined) throw new Error(`${name}: ${a ?? b} is not known`);
      return value;
    });
    return '';
  });
  if (rest !== '') throw new Error(`not understood: ${rest}`);
  return pairs;
}

/** `["a", "b"]`: the form without a shell. */
export function execForm(text: string): string[] {
  if (!text.startsWith('[')) throw new Error(`not the exec form: ${text}`);
  return JSON.parse(text);
}
