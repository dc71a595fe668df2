// The stored documents, a page at a time.

import { call, documentPath } from "./api.js";
import { confirmed } from "./confirm.js";
import { byId, count, faultBox, h, plural } from "./dom.js";
import { openSource } from "./source.js";
import { collections, onCollections, reloadCollections } from "./stored.js";

const PAGE = 25;
const ALL = ""; // no collection has an empty name
const rows = byId("list");
const which = byId("list-collection");
let cursors = [null]; // of the pages up to the one shown
let next = null;
let asked = 0;

/** Let pages be turned and collections be chosen. */
export function startList() {
  onCollections(drawChoices);
  which.addEventListener("change", () => turn([null]));
  byId("next").addEventListener("click", () => turn([...cursors, next]));
  byId("previous").addEventListener("click", () => turn(cursors.slice(0, -1)));
}

/** Ask for the page again that is shown. */
export async function reloadList() {
  const own = ++asked;
  rows.setAttribute("aria-busy", "true");
  byId("list-fault").replaceChildren();
  try {
    const page = await call("GET", `/v1/documents?${parameters()}`);
    if (own !== asked) return;
    if (!page.documents.length && cursors.length > 1) {
      cursors.pop(); // the last of its documents was deleted
      await reloadList();
      return;
    }
    next = page.next;
    draw(page.documents);
  } catch (error) {
    if (own === asked) byId("list-fault").replaceChildren(faultBox(error, reloadList));
  } finally {
    rows.setAttribute("aria-busy", "false");
  }
}

function parameters() {
  const asked = { limit: PAGE, collection: which.value, cursor: cursors.at(-1) };
  return new URLSearchParams(Object.entries(asked).filter(([, value]) => value));
}

async function turn(to) {
  cursors = to;
  await reloadList();
  if (document.activeElement !== which) byId("list-title").focus();
}

function draw(documents) {
  const nothing = h("li", { class: "hint nothing" }, "No documents here yet.");
  rows.replaceChildren(...(documents.length ? documents.map(row) : [nothing]));
  byId("previous").disabled = cursors.length === 1;
  byId("next").disabled = !next;
  byId("page-number").textContent = `Page ${cursors.length}`;
}

function row(stored) {
  const name = stored.title || stored.id;
  const facts = [stored.collection, plural(stored.chunks, "chunk"), `${count(stored.chars)} characters`, day(stored.added_at)];
  return h(
    "li",
    {},
    h(
      "div",
      {},
      h("button", { type: "button", class: "link", onclick: () => openSource({ document_id: stored.id, collection: stored.collection, title: name }) }, name),
      h("p", { class: "hint" }, stored.title && stored.title !== stored.id ? `${stored.id} · ` : null, facts.join(" · ")),
    ),
    h("button", { type: "button", class: "quiet", "aria-label": `Delete ${name}`, onclick: () => remove(stored) }, "Delete"),
  );
}

const day = (time) => new Date(time).toLocaleDateString("en-GB", { dateStyle: "medium" });

async function remove({ id, collection }) {
  if (!(await confirmed("Delete this document?", `${id} in the collection ${collection} can’t be found any more afterwards.`))) return;
  try {
    await call("DELETE", documentPath(id, collection));
    byId("documents-status").textContent = `${id} was deleted.`;
    await Promise.all([reloadList(), reloadCollections()]);
    byId("list-title").focus();
  } catch (error) {
    byId("list-fault").replaceChildren(faultBox(error));
  }
}

function drawChoices() {
  const kept = which.value;
  const options = collections().map(({ name, documents }) => h("option", { value: name }, `${name} (${count(documents)})`));
  which.replaceChildren(h("option", { value: ALL }, "All"), ...options);
  which.value = collections().some(({ name }) => name === kept) ? kept : ALL;
}
