/**
 * How many bytes from `a` and from `b` on are the same, up to `length`; both lie in `view` and `bytes`, which are of the same bytes. Eight are
 * compared at once, as doubles: equal ones are equal bytes but for 0 and -0, which are looked at closer, as is NaN, which equals nothing.
 */
export function sameBytes(view: DataView, bytes: Uint8Array, a: number, b: number, length: number): number {
  let same = 0;
  for (;;) {
    for (const last = length - 8; same <= last; same += 8) {
      const value = view.getFloat64(a + same, true);
      if (value !== view.getFloat64(b + same, true) || value === 0) break;
    }
    const stop = Math.min(length, same + 8);
    while (same < stop && bytes[a + same] === bytes[b + same]) same += 1;
    if (same < stop || same === length) return same;
  }
}
