// A question on its way: what the server tells, event by event.

import { ApiError, errorOf, reach } from "./api.js";
import { events } from "./sse.js";

let streams = true; // until a server that answers in one piece says otherwise

/** Yields {name, data} as the answer is made: retrieved, summary, token, citations, and done last. Raises ApiError, or AbortError when stopped. */
export async function* answering(request, signal) {
  const response = await ask(request, signal);
  if (!(response.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
    yield { name: "done", data: await response.json() };
    return;
  }
  for await (const { name, data } of received(response)) {
    const content = JSON.parse(data);
    if (name === "error") throw new ApiError(content.error);
    yield { name, data: content };
    if (name === "done") return;
  }
  const cut = { code: "cut_off", message: "The connection ended before the answer did.", retryable: true };
  throw new ApiError({ ...cut, request_id: response.headers.get("x-request-id") });
}

async function ask(request, signal) {
  const post = (body) =>
    reach("/v1/answer", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });
  let response = await post(streams ? { ...request, stream: true } : request);
  if (streams && response.status === 422) {
    response = await post(request);
    streams = !response.ok; // where the question itself is wrong, both are refused
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

async function* received(response) {
  try {
    yield* events(response.body);
  } catch (error) {
    // What fetch raises when a connection breaks midway; the loop below it reports the missing end.
    if (!(error instanceof TypeError)) throw error;
  }
}
