// The server counts Unicode code points, JavaScript strings count UTF-16 units: an emoji is one of those and two of these.

/** Index in `text` of each of `offsets`, which count code points. What lies behind the end gets the end. */
export function indices(text, offsets) {
  const found = new Map();
  let index = 0;
  let passed = 0;
  for (const offset of [...new Set(offsets)].sort((a, b) => a - b)) {
    for (; passed < offset && index < text.length; passed++) index += text.codePointAt(index) > 0xffff ? 2 : 1;
    found.set(offset, index);
  }
  return offsets.map((offset) => found.get(offset));
}

/** `text`, which begins at offset `start` of its document, cut at `spans` ([[start, end], …] in the document): [{text, marked}, …]. */
export function cutAt(text, start, spans = []) {
  const edges = indices(text, spans.flat().map((offset) => Math.max(0, offset - start)));
  const ranges = spans.map((_, place) => [edges[2 * place], edges[2 * place + 1]]).sort((a, b) => a[0] - b[0]);
  const pieces = [];
  let done = 0;
  const take = (end, marked) => {
    if (end > done) pieces.push({ text: text.slice(done, end), marked });
    done = Math.max(done, end);
  };
  for (const [from, to] of ranges) {
    take(from, false);
    take(to, true);
  }
  take(text.length, false);
  return pieces;
}
