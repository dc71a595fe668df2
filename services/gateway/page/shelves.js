// The collections: what each holds, a new one, deleting one.

import { call } from "./api.js";
import { confirmed } from "./confirm.js";
import { byId, faultBox, h, plural } from "./dom.js";
import { reloadList } from "./list.js";
import { collections, onCollections, reloadCollections } from "./stored.js";

const name = byId("new-collection-name");
const fault = byId("collections-fault");

/** Let collections be made and deleted. */
export function startShelves() {
  onCollections(draw);
  byId("new-collection").addEventListener("submit", (event) => {
    event.preventDefault();
    create(name.value);
  });
}

function draw() {
  const nothing = h("li", { class: "hint" }, "None yet. The first upload makes one.");
  byId("collections").replaceChildren(...(collections().length ? collections().map(row) : [nothing]));
  byId("collection-names").replaceChildren(...collections().map((one) => h("option", { value: one.name })));
}

function row(one) {
  return h(
    "li",
    {},
    h("div", {}, h("span", { class: "name" }, one.name), h("p", { class: "hint" }, `${plural(one.documents, "document")} · ${plural(one.chunks, "chunk")}`)),
    h("button", { type: "button", class: "quiet", "aria-label": `Delete the collection ${one.name}`, onclick: () => remove(one) }, "Delete"),
  );
}

async function create(wanted) {
  // PUT would give one that exists other settings.
  if (collections().some((one) => one.name === wanted)) return fault.replaceChildren(h("p", { class: "fault" }, `${wanted} exists already.`));
  return attempt(async () => {
    await call("PUT", `/v1/collections/${encodeURIComponent(wanted)}`, {});
    name.value = "";
    byId("upload-collection").value = wanted;
    byId("documents-status").textContent = `The collection ${wanted} was made.`;
    await reloadCollections();
  });
}

async function remove({ name: doomed, documents }) {
  if (!(await confirmed("Delete this collection?", `${doomed} and its ${plural(documents, "document")} can’t be found any more afterwards.`))) return;
  await attempt(async () => {
    await call("DELETE", `/v1/collections/${encodeURIComponent(doomed)}`);
    byId("documents-status").textContent = `The collection ${doomed} was deleted.`;
    await reloadCollections();
    await reloadList();
    byId("collections-title").focus();
  });
}

async function attempt(act) {
  fault.replaceChildren();
  try {
    await act();
  } catch (error) {
    fault.replaceChildren(faultBox(error));
  }
}
