// The passages found, each with the summary that is being made of it.

import { byId, h } from "./dom.js";
import { openSource } from "./source.js";

const list = byId("passages");
const heading = byId("passages-title");

/** Room for the passages to come, so that nothing moves when they do. */
export function awaitPassages(number) {
  heading.textContent = "Passages";
  list.replaceChildren(...Array.from({ length: Math.min(number, 8) }, () => h("li", { class: "passage waiting", "aria-hidden": "true" }, lines(5))));
}

/** Show `passages`; their summaries come later. */
export function showPassages(passages) {
  heading.textContent = passages.length ? `Passages · ${passages.length}` : "No passage found";
  list.replaceChildren(...passages.map(card));
}

/** Fill in the summary of passage number `index`. */
export function showSummary(index, summary) {
  const place = list.children[index]?.querySelector(".summary");
  if (!place) return;
  const text = summary.error ? `Not read: ${summary.error.message} (${summary.error.code})` : summary.text || "Says nothing on the question.";
  place.classList.toggle("fault", Boolean(summary.error));
  place.classList.toggle("hint", !summary.error && !summary.text);
  place.classList.remove("pending");
  place.replaceChildren(text);
}

/** No further summary comes: say so where one is missing. */
export function endSummaries() {
  for (const place of list.querySelectorAll(".summary.pending")) {
    place.classList.replace("pending", "hint");
    place.replaceChildren("Not read.");
  }
  list.querySelectorAll(".waiting").forEach((card) => card.remove());
}

/** Say that these are near misses. */
export function callNearest() {
  if (list.children.length) heading.textContent = "Nearest passages";
}

function card(passage, index) {
  const place = [passage.document_id, passage.page ? `page ${passage.page}` : null, ...passage.headings].filter(Boolean).join(" › ");
  return h(
    "li",
    { class: "passage" },
    h("h3", {}, h("button", { type: "button", class: "link", onclick: () => openSource(passage) }, passage.title || passage.document_id)),
    h("p", { class: "hint place" }, place),
    h("p", { class: "summary pending" }, h("span", { class: "unseen" }, "Being read"), lines(3)),
    h(
      "details",
      {},
      h("summary", { "aria-label": `Passage ${index + 1} in full` }, "Passage"),
      h("p", { class: "passage-text" }, passage.text),
      h("p", { class: "hint" }, scores(passage)),
    ),
  );
}

function scores({ score, scores: by }) {
  const parts = { score, meaning: by.dense, words: by.lexical, reranker: by.rerank };
  const known = Object.entries(parts).filter(([, value]) => value !== null && value !== undefined);
  return known.map(([name, value]) => `${name} ${value.toFixed(2)}`).join(" · ");
}

const lines = (number) => h("span", { class: "lines", "aria-hidden": "true" }, Array.from({ length: number }, () => h("span", {})));
