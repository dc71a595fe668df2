// A question before something is deleted.

import { byId } from "./dom.js";

const dialog = byId("confirm");

/** Whether the person says yes; Escape and Cancel mean no. */
export function confirmed(title, text) {
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** Let the buttons answer. */
export function startConfirm() {
  byId("confirm-yes").addEventListener("click", () => dialog.close("yes"));
  byId("confirm-no").addEventListener("click", () => dialog.close(""));
}
