// Elements are made here and nowhere else. Text becomes text nodes: what a document holds is never read as markup.

/** The element of this id. */
export const byId = (id) => document.getElementById(id);

/** A new element; attributes that are functions are listeners (`onclick`), null and false ones are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** `123456` as `123,456`. */
export const count = (number) => number.toLocaleString("en");

/** `1 file`, `2 files`. */
export const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

/** An error as the server told it: message, code and request id, and a way to try again. */
export function faultBox(error, retry = null) {
  return h(
    "div",
    { class: "fault-box" },
    h("p", {}, error.message),
    h("p", { class: "hint" }, h("code", {}, error.code), error.requestId ? [" · request ", h("code", {}, error.requestId)] : null),
    retry ? h("button", { type: "button", onclick: retry }, "Try again") : null,
  );
}
