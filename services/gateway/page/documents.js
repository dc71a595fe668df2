// The view of what is stored: uploads, collections, documents.

import { startList, reloadList } from "./list.js";
import { startShelves } from "./shelves.js";
import { reloadCollections } from "./stored.js";
import { followJobs, startUploads } from "./uploads.js";

/** Let documents be added, looked at and deleted. */
export function startDocuments() {
  startList();
  startShelves();
  startUploads(reload);
}

/** The view is shown: what it shows is asked for. */
export async function showDocuments() {
  await Promise.all([reload(), followJobs(reload).catch(() => {})]);
}

async function reload() {
  await Promise.all([reloadCollections().catch(() => {}), reloadList()]);
}
