// Calls of the gateway. Whatever goes wrong becomes an ApiError.

/** What the server, or the way to it, reports. */
export class ApiError extends Error {
  constructor({ code, message, request_id: requestId = null, retryable = false }, status = 0) {
    super(message);
    Object.assign(this, { code, requestId, retryable, status });
  }
}

const UNREACHABLE = { code: "unreachable", message: "The server can’t be reached.", retryable: true };

/** fetch that raises ApiError where nothing answers; an abort stays an AbortError. */
export async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(UNREACHABLE);
  }
}

/** The ApiError that an answer of 400 and above tells of. */
export async function errorOf(response) {
  return errorIn(await response.text().catch(() => ""), response.status, response.headers.get("x-request-id"));
}

function errorIn(text, status, requestId) {
  try {
    const { error } = JSON.parse(text);
    if (error?.code) return new ApiError({ ...error, request_id: error.request_id ?? requestId }, status);
  } catch {
    // Not ours: a proxy's page.
  }
  return new ApiError({ code: `http_${status}`, message: `The server answered with status ${status}.`, request_id: requestId, retryable: status >= 500 }, status);
}

/** The JSON that `path` answers; raises ApiError. */
export async function call(method, path, body = undefined, signal = undefined) {
  const headers = method === "GET" ? {} : { "Content-Type": "application/json" };
  const response = await reach(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  if (!response.ok) throw await errorOf(response);
  return response.json();
}

/** Path of a document, whose id may hold anything. */
export const documentPath = (id, collection) => `/v1/documents/${encodeURIComponent(id)}?collection=${encodeURIComponent(collection)}`;

/** Send files as multipart; resolves to the job. `onProgress` is told the share that has been sent. fetch can't tell it, so XMLHttpRequest does. */
export function sendFiles(files, collection, onProgress, signal) {
  const form = new FormData();
  form.append("collection", collection);
  for (const file of files) form.append("files", file, file.name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/documents");
    request.upload.addEventListener("progress", (event) => event.lengthComputable && onProgress(event.loaded / event.total));
    request.addEventListener("load", () => {
      if (request.status === 202) resolve(JSON.parse(request.responseText));
      else reject(errorIn(request.responseText, request.status, request.getResponseHeader("x-request-id")));
    });
    request.addEventListener("error", () => reject(new ApiError(UNREACHABLE)));
    request.addEventListener("abort", () => reject(new DOMException("stopped", "AbortError")));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}
