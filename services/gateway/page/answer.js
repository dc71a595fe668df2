// The answer as it grows: first the bare words, then sentences with their citations, then everything.

import { byId, h } from "./dom.js";
import { cutAt } from "./offsets.js";
import { openSource } from "./source.js";

const LONGEST_WORD = 20;
const text = byId("answer-text");
const sources = byId("sources");
const notes = byId("notes");
let drawn = "";

/** An empty answer to `question`. */
export function beginAnswer(question) {
  byId("asked").textContent = question;
  drawn = "";
  text.setAttribute("aria-busy", "true");
  for (const place of [text, sources, notes, byId("confidence"), byId("timings")]) place.replaceChildren();
}

/** Append what was just written. */
export function addToken(token) {
  if (!text.firstChild) text.append(h("p", { class: "writing" }, document.createTextNode("")));
  text.firstChild.firstChild.appendData(token);
}

/** Replace the words by `sentences` with the numbers of their citations, and list these. The same once more changes nothing. */
export function showCited(sentences, citations) {
  const content = JSON.stringify([sentences, citations]);
  if (content === drawn) return;
  drawn = content;
  text.replaceChildren(h("p", {}, sentences.flatMap((sentence, place) => [cited(sentence, place, citations), " "])));
  sources.replaceChildren(...(citations.length ? [h("h3", { class: "small" }, "Sources"), h("ol", { class: "sources" }, citations.map(source))] : []));
}

/** Everything that is known at the end. */
export function showAnswer(answer) {
  if (answer.abstained) showAbstention(answer);
  else showCited(answer.sentences.length ? answer.sentences : [answer.answer], answer.citations);
  showConfidence(answer.confidence);
  showNotes(answer.degraded, answer.notes);
}

/** Nothing more comes. */
export function endAnswer() {
  text.setAttribute("aria-busy", "false");
  text.querySelector(".writing")?.classList.remove("writing");
}

/** What went less well than usual. */
export function showNotes(degraded, lines) {
  if (!degraded && !lines.length) return notes.replaceChildren();
  const title = degraded ? "Answered with less than usual" : "Notes";
  return notes.replaceChildren(h("div", { class: "note" }, h("strong", {}, title), h("ul", {}, lines.map((line) => h("li", {}, line)))));
}

function showAbstention(answer) {
  drawn = "";
  sources.replaceChildren();
  const where = answer.passages.length ? "The nearest passages are listed; none of them answers the question." : "No passage was found.";
  text.replaceChildren(h("div", { class: "abstained" }, h("p", {}, h("strong", {}, "Not in these documents")), h("p", {}, answer.answer), h("p", { class: "hint" }, where)));
}

function showConfidence(confidence) {
  if (confidence === null || confidence === undefined) return;
  const percent = `${Math.round(confidence * 100)} %`;
  const explained = "How likely it is that the documents answer this question";
  const meter = h("meter", { min: "0", max: "1", value: String(confidence), "aria-label": explained }, percent);
  byId("confidence").replaceChildren(h("span", { title: explained }, `Confidence ${percent}`), meter);
}

function cited(sentence, place, citations) {
  const own = citations.map((citation, number) => ({ citation, number })).filter(({ citation }) => citation.sentence === place);
  const marks = own.map(({ citation, number }) => mark(citation, number));
  // The numbers stay on the line of the last word, unless it is too long for one.
  const end = sentence.lastIndexOf(" ") + 1;
  const together = sentence.length - end > LONGEST_WORD ? [sentence.slice(end), marks] : h("span", { class: "together" }, sentence.slice(end), marks);
  return h("span", { class: "sentence" }, sentence.slice(0, end), together);
}

function mark(citation, number) {
  const place = [citation.title || citation.document_id, citation.page ? `page ${citation.page}` : null].filter(Boolean).join(", ");
  const label = `Source ${number + 1}: ${place}${citation.verified ? "" : ", not verified"}`;
  return h("button", { type: "button", class: "cite", "aria-label": label, title: place, onclick: () => openSource(citation) }, String(number + 1));
}

function source(citation, number) {
  const quote = cutAt(citation.quote, citation.start, citation.highlights ?? []).map((piece) => (piece.marked ? h("strong", {}, piece.text) : piece.text));
  const name = citation.title || citation.document_id;
  return h(
    "li",
    {},
    h(
      "p",
      { class: "source-head" },
      h("span", { class: "number", "aria-hidden": "true" }, String(number + 1)),
      h("button", { type: "button", class: "link", "aria-label": `Open source ${number + 1}: ${name}`, onclick: () => openSource(citation) }, name),
      citation.page ? h("span", { class: "hint" }, `page ${citation.page}`) : null,
      citation.verified ? null : h("span", { class: "unverified" }, "not verified"),
    ),
    citation.context ? h("p", { class: "hint" }, citation.context) : null,
    h("blockquote", {}, quote),
  );
}
