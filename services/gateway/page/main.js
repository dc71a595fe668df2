// The page: two views, chosen by the fragment of its address.

import { startAsking } from "./ask.js";
import { startConfirm } from "./confirm.js";
import { showDocuments, startDocuments } from "./documents.js";
import { byId } from "./dom.js";
import { startSource } from "./source.js";
import { reloadCollections } from "./stored.js";

const VIEWS = { "#ask": "Ask", "#documents": "Documents" };
const fragment = () => location.hash || "#ask";

function show(view, focus) {
  for (const name of Object.keys(VIEWS)) {
    const isShown = name === view;
    byId(`view-${name.slice(1)}`).hidden = !isShown;
    const link = document.querySelector(`nav a[href="${name}"]`);
    if (isShown) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${VIEWS[view]} · Ekiben`;
  if (view === "#documents") showDocuments();
  if (focus) byId(`${view.slice(1)}-title`).focus();
}

// Other fragments, such as the one of the skip link, leave the view as it is.
addEventListener("hashchange", () => fragment() in VIEWS && show(fragment(), true));

startAsking();
startSource();
startConfirm();
startDocuments();
if (fragment() in VIEWS) show(fragment(), false);
// A server that can't say is told of when a question is asked.
if (fragment() !== "#documents") reloadCollections().catch(() => {});
