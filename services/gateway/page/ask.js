// A question is asked, and watched until its answer stands.

import { ApiError } from "./api.js";
import { addToken, beginAnswer, endAnswer, showAnswer, showCited, showNotes } from "./answer.js";
import { answering } from "./answering.js";
import { byId, faultBox, plural } from "./dom.js";
import { options, startOptions, topK } from "./options.js";
import { awaitPassages, callNearest, endSummaries, showPassages, showSummary } from "./passages.js";
import { collections, onCollections } from "./stored.js";
import { timingsBar } from "./timings.js";

const question = byId("question");
const stop = byId("stop-button");
let current = null;

/** Let questions be asked. */
export function startAsking() {
  startOptions();
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  question.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    byId("ask").requestSubmit();
  });
  stop.addEventListener("click", () => current?.abort());
  onCollections(() => (byId("no-documents").hidden = collections().some(({ documents }) => documents > 0)));
}

function submit() {
  const asked = question.value.trim();
  byId("filter-error").textContent = "";
  try {
    if (asked) watch({ question: asked, ...options() });
  } catch (error) {
    byId("options").open = true;
    byId("filter-error").textContent = error.message;
  }
}

async function watch(request) {
  current?.abort();
  const own = (current = new AbortController());
  begin(request);
  const state = { passages: null, read: 0 };
  try {
    for await (const { name, data } of answering(request, own.signal)) if (current === own) HANDLERS[name]?.(data, state);
    if (current === own) end();
  } catch (error) {
    if (current === own) fail(error, request);
  }
}

const HANDLERS = {
  retrieved(data, state) {
    state.passages = data.passages;
    showPassages(data.passages);
    showNotes(data.degraded, data.notes);
    byId("timings").replaceChildren(...timingsBar(data.timings_ms));
    say(data.passages.length ? `Reading ${plural(data.passages.length, "passage")}…` : "Nothing was found.");
  },
  summary(data, state) {
    showSummary(data.index, data.summary);
    state.read += 1;
    say(`Read ${state.read} of ${plural(state.passages?.length ?? state.read, "passage")}…`, false);
  },
  token(data) {
    if (byId("progress").textContent !== "Writing…") say("Writing…");
    addToken(data.text);
  },
  citations(data) {
    showCited(data.sentences, data.citations);
  },
  done(answer, state) {
    if (!state.passages) showPassages(answer.passages);
    answer.summaries.forEach((summary, index) => showSummary(index, summary));
    showAnswer(answer);
    if (answer.abstained) callNearest();
    byId("timings").replaceChildren(...timingsBar(answer.timings_ms));
    say(answer.abstained ? "Not in these documents." : `Answered from ${plural(answer.citations.length, "citation")}.`);
  },
};

function begin(request) {
  byId("welcome").hidden = true;
  byId("result").hidden = false;
  byId("fault").replaceChildren();
  beginAnswer(request.question);
  awaitPassages(topK());
  say("Searching…");
  running(true);
}

function end() {
  endAnswer();
  endSummaries();
  running(false);
}

function fail(error, request) {
  end();
  if (error.name === "AbortError") return say("Stopped.");
  const known = error instanceof ApiError ? error : new ApiError({ code: "unreadable", message: `The answer can’t be read: ${error.message}` });
  byId("fault").replaceChildren(faultBox(known, known.retryable ? () => again(request) : null));
  return say("Failed.");
}

function again(request) {
  watch(request);
  stop.focus();
}

/** One button at a time; the focus goes along. */
function running(isRunning) {
  const [shown, hidden] = isRunning ? [stop, byId("ask-button")] : [byId("ask-button"), stop];
  const hadFocus = document.activeElement === hidden;
  shown.hidden = false;
  hidden.hidden = true;
  if (hadFocus) shown.focus();
}

/** Tell how far it is; steps that come many at a time are shown and not spoken. */
function say(text, aloud = true) {
  byId("progress").setAttribute("aria-live", aloud ? "polite" : "off");
  byId("progress").textContent = text;
}
