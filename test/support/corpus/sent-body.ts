/** A body to send, and what an export must show of it afterwards. */
import type { SourceKind } from './sources.ts';

export interface SentBody {
  path: string;
  contentType: string;
  signal: SourceKind;
  body: Uint8Array;
  /** Canonical texts, in order. */
  items: string[];
}
