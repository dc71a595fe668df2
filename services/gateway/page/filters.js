// Metadata filters as rows of field, comparison and value.

import { byId, h } from "./dom.js";

const rows = byId("filters");
let made = 0;

/** Let rows be added. */
export function startFilters() {
  byId("add-filter").addEventListener("click", () => addRow().querySelector("input").focus());
}

function addRow() {
  const number = ++made;
  const field = h("input", { id: `field-${number}`, maxlength: "128", autocapitalize: "none", spellcheck: "false", placeholder: "field" });
  const how = h(
    "select",
    { id: `how-${number}`, "aria-label": `Comparison ${number}` },
    h("option", { value: "is" }, "is"),
    h("option", { value: "gte" }, "at least"),
    h("option", { value: "lte" }, "at most"),
  );
  const value = h("input", { id: `value-${number}`, maxlength: "4000", autocapitalize: "none", spellcheck: "false", placeholder: "value" });
  field.setAttribute("aria-label", `Field ${number}`);
  value.setAttribute("aria-label", `Value ${number}`);
  const remove = h("button", { type: "button", class: "quiet", "aria-label": `Remove filter ${number}` }, "Remove");
  const row = h("li", { class: "filter" }, field, how, value, remove);
  remove.addEventListener("click", () => {
    row.remove();
    byId("add-filter").focus();
  });
  rows.append(row);
  return row;
}

/** How many rows say something. */
export const filterCount = () => read().length;

/** The rows as the API takes them; raises RangeError that says which can't be together. Rows without a field count for nothing. */
export function filters() {
  const found = Object.create(null); // a field may be called __proto__
  for (const { field, how, value } of read()) found[field] = joined(field, found[field], how, scalar(value));
  return found;
}

function read() {
  const lines = [...rows.children].map((row) => [...row.querySelectorAll("input, select")].map((input) => input.value.trim()));
  return lines.map(([field, how, value]) => ({ field, how, value })).filter(({ field }) => field);
}

function joined(field, before, how, value) {
  const isRange = before !== null && typeof before === "object" && !Array.isArray(before);
  if (how !== "is" && (before === undefined || isRange)) return { ...before, [how]: value };
  if (how !== "is" || isRange) throw new RangeError(`${field}: either a value or bounds, not both`);
  return before === undefined ? value : [before, value].flat();
}

/** Numbers, true and false as such; what stands in quotes, and everything else, as text. */
function scalar(text) {
  if (/^(true|false|-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?)$/.test(text)) return JSON.parse(text);
  return /^".*"$/s.test(text) ? text.slice(1, -1) : text;
}
