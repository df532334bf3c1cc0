/** The names in a PromQL expression: metrics, and the labels that are asked of them. Enough of the grammar for what is written here. */

export interface Names {
  metrics: Set<string>;
  /** In `{…}`, `by (…)`, `on (…)` and the like. */
  labels: Set<string>;
}

const KEYWORDS = new Set(
  'and or unless bool by without on ignoring group_left group_right offset inf nan start end atan2'.split(' '),
);
const GROUPING = /\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)/gi;
const NAME = /[a-zA-Z_:][\w:]*/g;

export function namesOf(expr: string): Names {
  const labels = new Set<string>();
  const metrics = new Set<string>();
  let text = expr.replace(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/g, '""');
  text = text.replace(/\{([^}]*)\}/g, (_, matchers: string) => {
    for (const [name] of matchers.matchAll(NAME)) labels.add(name);
    return ' ';
  });
  text = text.replace(/\[[^\]]*\]/g, ' ').replace(/\boffset\s+-?\w+/g, ' ');
  text = text.replace(GROUPING, (_, list: string) => {
    for (const [name] of list.matchAll(NAME)) labels.add(name);
    return ' ';
  });
  for (const match of text.matchAll(NAME)) {
    const isFunction = /^\s*\(/.test(text.slice(match.index + match[0].length));
    const isPartOfNumber = /[\d.]$/.test(text.slice(0, match.index));
    if (!isFunction && !isPartOfNumber && !KEYWORDS.has(match[0].toLowerCase())) metrics.add(match[0]);
  }
  // `sum by (x) (…)`: with its grouping taken out an aggregation is a function again.
  return { metrics, labels };
}
