// How a question is asked: collections, mode, number of passages, filters.

import { byId, h, plural } from "./dom.js";
import { filterCount, filters, startFilters } from "./filters.js";
import { collections, onCollections } from "./stored.js";

const chosen = new Set();

/** Keep the choices and their one-line summary up to date. */
export function startOptions() {
  startFilters();
  onCollections(() => {
    drawChoices();
    summarize();
  });
  for (const event of ["input", "change", "click"]) byId("options").addEventListener(event, summarize);
  summarize();
}

/** The options as fields of an AnswerRequest; raises RangeError where the filters contradict each other. */
export function options() {
  const names = chosen.size ? [...chosen] : collections().map(({ name }) => name);
  return {
    mode: byId("mode").value,
    top_k: topK(),
    filters: filters(),
    ...(names.length ? { collections: names } : {}),
  };
}

/** How many passages are asked for. */
export const topK = () => Number(byId("top-k").value);

function drawChoices() {
  const names = collections().map(({ name }) => name);
  for (const name of chosen) if (!names.includes(name)) chosen.delete(name);
  byId("collection-choices").replaceChildren(...(names.length ? names.map(choice) : [h("p", { class: "hint" }, "There are none yet.")]));
}

function choice(name) {
  const box = h("input", { type: "checkbox", value: name });
  box.checked = chosen.has(name);
  box.addEventListener("change", () => (box.checked ? chosen.add(name) : chosen.delete(name)));
  return h("label", { class: "chip" }, box, name);
}

function summarize() {
  const mode = byId("mode").selectedOptions[0].textContent.toLowerCase();
  const where = chosen.size ? [...chosen].join(", ") : "all collections";
  const parts = [where, mode, plural(topK(), "passage")];
  if (filterCount()) parts.push(plural(filterCount(), "filter"));
  byId("options-summary").textContent = parts.join(" · ");
}
