// A document in a panel at the side, open at the characters that were cited.

import { call, documentPath } from "./api.js";
import { byId, count, faultBox, h } from "./dom.js";
import { cutAt, indices } from "./offsets.js";

const STRETCH = 20_000; // UTF-16 units shown on either side at first, and more of at a time
const panel = byId("source");
const body = byId("source-text");
let opening = null;

/** Let Escape, the button and a click beside the panel close it. */
export function startSource() {
  byId("source-close").addEventListener("click", () => panel.close());
  panel.addEventListener("click", (event) => event.target === panel && panel.close());
  panel.addEventListener("close", () => {
    opening?.abort();
    body.replaceChildren();
  });
}

/** Open what a citation or a passage points at: document_id, collection, and start and end with the text they hold. */
export async function openSource(place) {
  opening?.abort();
  opening = new AbortController();
  const { signal } = opening;
  byId("source-title").textContent = place.title || place.document_id;
  byId("source-place").textContent = place.document_id;
  byId("source-note").textContent = "Loading…";
  for (const part of [body, byId("source-fault")]) part.replaceChildren();
  if (!panel.open) panel.showModal();
  body.focus();
  try {
    show(await call("GET", documentPath(place.document_id, place.collection), undefined, signal), place);
  } catch (error) {
    if (error.name === "AbortError") return;
    byId("source-note").textContent = "";
    byId("source-fault").replaceChildren(faultBox(error, error.retryable ? () => openSource(place) : null));
  }
}

function show(found, place) {
  const parts = [found.id, found.collection, place.page ? `page ${place.page}` : null, `${count(found.text.length)} characters`];
  byId("source-title").textContent = found.title || found.id;
  byId("source-place").textContent = parts.filter(Boolean).join(" · ");
  const span = spanIn(found.text, place);
  byId("source-note").textContent = span.note;
  const { text } = found;
  const pieces = cutAt(text.slice(span.start, span.end), place.start ?? 0, span.moved ? [] : (place.highlights ?? []));
  const cited = h("mark", {}, pieces.map((piece) => (piece.marked ? h("strong", {}, piece.text) : piece.text)));
  body.replaceChildren(...before(text, span.start), ...(span.end > span.start ? [cited] : []), ...after(text, span.end));
  if (span.end > span.start) cited.scrollIntoView({ block: "center" });
  else body.scrollTop = 0;
}

/** Where the cited text stands, in UTF-16 units. The document may have been changed since the answer: then it is looked for. */
function spanIn(text, place) {
  const wanted = place.quote ?? place.text;
  if (wanted === undefined) return { start: 0, end: 0, moved: true, note: "" };
  const [start, end] = indices(text, [place.start, place.end]);
  if (text.slice(start, end) === wanted) return { start, end, moved: false, note: "" };
  const found = text.indexOf(wanted);
  if (found >= 0) return { start: found, end: found + wanted.length, moved: true, note: "The document has changed since; the text was found again at another place." };
  return { start: 0, end: 0, moved: true, note: "The document has changed since; the cited text is no longer in it." };
}

function before(text, end) {
  const from = whole(text, end - STRETCH);
  const shown = document.createTextNode(text.slice(from, end));
  return from > 0 ? [more("Show the text before", (button) => button.replaceWith(...before(text, from))), shown] : [shown];
}

function after(text, start) {
  const to = whole(text, start + STRETCH);
  const shown = document.createTextNode(text.slice(start, to));
  return to < text.length ? [shown, more("Show the text after", (button) => button.replaceWith(...after(text, to)))] : [shown];
}

/** `index` within `text`, moved out of a surrogate pair. */
function whole(text, index) {
  const within = Math.min(Math.max(index, 0), text.length);
  const unit = text.charCodeAt(within);
  return unit >= 0xdc00 && unit <= 0xdfff ? within - 1 : within;
}

function more(label, act) {
  const button = h("button", { type: "button", class: "more" }, label);
  button.addEventListener("click", () => {
    body.focus();
    act(button);
  });
  return button;
}
