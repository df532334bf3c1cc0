/** For tests that check millions of times: as `expect`, at a thousandth of its price. */

export function must(holds: boolean, what: () => string): asserts holds {
  if (!holds) throw new Error(`it must hold that ${what()}`);
}

/** Runs a simulation whose failures are made by the thousand: without their stacks, which cost more than they do. */
export async function withoutStacks<T>(task: () => Promise<T>): Promise<T> {
  const before = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    return await task();
  } finally {
    Error.stackTraceLimit = before;
  }
}
