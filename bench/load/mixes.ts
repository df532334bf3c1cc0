/** The mixes by name, and which of them a run has. */
import { corpusSources } from '../sources.ts';
import { CORPUS_MIXES, corpusSendings } from './corpus-templates.ts';
import { GENERATED_MIXES, type GeneratedMix, generatedSendings, type Sending } from './templates.ts';

export interface MixOptions {
  mix: string;
  seed: number;
  /** Different bodies of a generated mix; each is sent many times with other times in it. */
  templates: number;
  /** Raw JSON bytes of the different bodies of a corpus mix. */
  corpusBytes: number;
}

export function hasCorpus(): boolean {
  return corpusSources() !== undefined;
}

/** Those of the corpus, where it is there. Those of the generator come with a filter, and where there is no corpus. */
export function mixesFor(filter: string, withCorpus: boolean): string[] {
  const corpus = withCorpus ? Object.keys(CORPUS_MIXES) : [];
  return filter === '' && withCorpus ? corpus : [...corpus, ...Object.keys(GENERATED_MIXES)];
}

/** `endMs`: time of the newest bodies, about. */
export async function makeSendings(options: MixOptions, endMs: number): Promise<Sending[]> {
  const { mix, seed, templates, corpusBytes } = options;
  return mix in GENERATED_MIXES
    ? generatedSendings(mix as GeneratedMix, templates, seed, endMs)
    : corpusSendings(mix, corpusBytes, seed, endMs);
}
