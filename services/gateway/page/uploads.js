// Files on their way in: sent, then followed as the job they have become.

import { call, sendFiles } from "./api.js";
import { byId, faultBox, h, plural } from "./dom.js";

const MAX_FILES = 256; // the server takes no more at once,
const MAX_BYTES = 48 * 2 ** 20; // and by default 64 MiB, the form's own bytes included
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 2_000;
const files = byId("files");
const collection = byId("upload-collection");
const drop = byId("drop");
const followed = new Set();

/** Let files be chosen and dropped; `stored` is called when a job has ended. */
export function startUploads(stored) {
  byId("upload").addEventListener("submit", (event) => event.preventDefault());
  files.addEventListener("change", () => {
    take([...files.files], stored);
    files.value = "";
  });
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => hover(event, true));
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, (event) => hover(event, false));
  drop.addEventListener("drop", (event) => take([...event.dataTransfer.files], stored));
}

/** Follow the jobs that are still at work, from before the page was loaded. */
export async function followJobs(stored) {
  for (const state of ["running", "queued"]) {
    const page = await call("GET", `/v1/jobs?state=${state}`);
    for (const job of page.jobs.filter(({ id }) => !followed.has(id))) {
      const row = newRow(plural(job.items, "item"));
      follow(row, job, stored).catch(row.fail);
    }
  }
}

function hover(event, over) {
  event.preventDefault();
  drop.classList.toggle("over", over);
}

function take(chosen, stored) {
  if (chosen.length && collection.reportValidity()) for (const batch of batches(chosen)) send(batch, stored);
}

/** `chosen` in parts that the server takes at once. */
function batches(chosen) {
  const parts = [];
  let bytes = 0;
  for (const file of chosen) {
    const part = parts.at(-1);
    if (!part || part.length === MAX_FILES || bytes + file.size > MAX_BYTES) {
      parts.push([file]);
      bytes = file.size;
    } else {
      part.push(file);
      bytes += file.size;
    }
  }
  return parts;
}

async function send(batch, stored) {
  const row = newRow(batch.length === 1 ? batch[0].name : plural(batch.length, "file"));
  const stopping = new AbortController();
  row.stop.addEventListener("click", () => stopping.abort());
  try {
    row.tell("Sending…", 0);
    const job = await sendFiles(batch, collection.value, (share) => row.tell(`Sending… ${Math.round(share * 100)} %`, share), stopping.signal);
    await follow(row, job, stored);
  } catch (error) {
    if (error.name === "AbortError") row.end("Stopped; nothing was stored.");
    else row.fail(error, error.retryable ? () => retry(row, batch, stored) : null);
  }
}

function retry(row, batch, stored) {
  row.element.remove();
  send(batch, stored);
}

async function follow(row, first, stored) {
  followed.add(first.id);
  row.stop.addEventListener("click", () => call("POST", `/v1/jobs/${encodeURIComponent(first.id)}/cancel`).catch(row.complain));
  let job = first;
  for (let pause = FIRST_PAUSE_MS; !job.finished_at; pause = Math.min(pause * 1.5, LONGEST_PAUSE_MS)) {
    row.tell(`${job.state === "queued" ? "Waiting" : "Reading"}… ${job.items_done} of ${plural(job.items, "item")}`, job.items_done / job.items);
    await new Promise((resolve) => setTimeout(resolve, pause));
    job = await asked(job);
  }
  row.end(outcome(job), job.errors);
  stored();
}

/** The job as it is now; as it was, where the server can't tell for the moment. */
async function asked(job) {
  try {
    return await call("GET", `/v1/jobs/${encodeURIComponent(job.id)}`);
  } catch (error) {
    if (error.retryable) return job;
    throw error;
  }
}

function outcome({ state, documents }) {
  const parts = Object.entries(documents).filter(([, number]) => number > 0).map(([what, number]) => `${number} ${what === "created" ? "new" : what}`);
  return `${state === "cancelled" ? "Stopped" : "Done"}: ${parts.join(", ") || "nothing stored"}.`;
}

/** A line of the list of uploads, with what it can be told. */
function newRow(name) {
  const state = h("p", { class: "hint", role: "status" });
  const bar = h("progress", { max: "1", value: "0", "aria-label": `Progress of ${name}` });
  const stop = h("button", { type: "button", class: "quiet", "aria-label": `Stop ${name}` }, "Stop");
  const faults = h("div", { role: "alert" });
  const element = h("li", { class: "upload" }, h("div", {}, h("span", { class: "name" }, name), state, bar, faults), stop);
  const finish = () => {
    bar.value = 1;
    for (const part of [bar, stop]) part.classList.add("over");
    stop.disabled = true;
  };
  const complain = (error, again = null) => faults.replaceChildren(faultBox(error, again));
  byId("uploads-section").hidden = false;
  byId("uploads").prepend(element);
  return {
    element,
    stop,
    complain,
    tell(text, share) {
      state.textContent = text;
      bar.value = share;
    },
    end(text, errors = []) {
      finish();
      state.textContent = text;
      if (errors.length) faults.replaceChildren(h("ul", { class: "faults" }, errors.map(problem)));
    },
    fail(error, again = null) {
      finish();
      state.textContent = "Failed.";
      complain(error, again);
    },
  };
}

/** Messages name what they are about; those that begin otherwise get the name in front. */
function problem({ id, error }) {
  const message = error.message.startsWith(id) ? error.message : `${id}: ${error.message}`;
  return h("li", {}, message, " ", h("code", {}, error.code));
}
