// Server-sent events out of a stream of bytes, as the HTML standard defines them. EventSource reads them too, but can't POST.

/** Yields {name, data} for each event of `body`, a ReadableStream of bytes. Leaving the loop gives the connection up. */
export async function* events(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const parser = new Parser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.feed(decoder.decode(value, { stream: true }));
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

class Parser {
  #rest = "";
  #name = "";
  #data = [];
  #afterCr = false;

  *feed(text) {
    // A CR at the end of a chunk ended a line already; the LF that may follow belongs to it.
    if (this.#afterCr && text.startsWith("\n")) text = text.slice(1);
    if (text) this.#afterCr = text.endsWith("\r");
    const lines = (this.#rest + text).split(/\r\n|\n|\r/);
    this.#rest = lines.pop();
    for (const line of lines) {
      if (line) this.#take(line);
      else yield* this.#dispatch();
    }
  }

  #take(line) {
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#name = value;
    else if (field === "data") this.#data.push(value);
  }

  *#dispatch() {
    if (this.#data.length) yield { name: this.#name || "message", data: this.#data.join("\n") };
    this.#name = "";
    this.#data = [];
  }
}
