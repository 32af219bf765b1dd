/** Calls of Eddyline's HTTP API, with the key that a person has entered. It is kept in this page's memory alone. */

const TIMEOUT_MS = 12_000;
let key = "";

/** A refusal, or no answer at all (status 0). `message` says what was wrong. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }

  /** Whether trying again may help. */
  get isPassing() {
    return this.status === 0 || this.status === 503 || this.status === 429;
  }
}

/** Send this key with every call from now on. */
export function useKey(given) {
  key = given.trim();
}

/** Call a route; return the decoded answer. `more`: further headers. Throws `Problem`. */
export async function call(method, path, body, more = {}) {
  const headers = key ? { ...more, Authorization: `Bearer ${key}` } : { ...more };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      keepalive: method === "POST" && path === "/v1/events",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new Problem(0, `nothing answers at ${location.origin}`);
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(response.status, answer.detail ?? `${method} ${path} answered ${response.status}`);
  return answer;
}

/** Follow a stream of server-sent events until `signal` ends it: `onMessage` gets each, decoded. It is asked for again
 * where it ends, and while the page isn't looked at, nothing is asked for. Throws `Problem`. */
export async function follow(path, onMessage, signal) {
  while (!signal.aborted) {
    if (document.hidden) await visible(signal);
    try {
      const response = await fetch(path, { headers: key ? { Authorization: `Bearer ${key}` } : {}, signal });
      if (!response.ok) {
        const answer = await response.json().catch(() => ({}));
        throw new Problem(response.status, answer.detail ?? `GET ${path} answered ${response.status}`);
      }
      await readMessages(response.body.pipeThrough(new TextDecoderStream()).getReader(), onMessage);
    } catch (problem) {
      if (signal.aborted) return;
      throw problem instanceof Problem ? problem : new Problem(0, `nothing answers at ${location.origin}`);
    }
  }
}

async function readMessages(reader, onMessage) {
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const one of parts) onMessage(JSON.parse(one.slice("data: ".length)));
    if (document.hidden) return reader.cancel();
  }
}

function visible(signal) {
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", resolve, { once: true, signal });
    signal.addEventListener("abort", resolve, { once: true });
  });
}

/** Write a path with ids, and a query; parameters that are undefined are left out, lists are repeated. */
export function address(segments, query = {}, root = "/v1") {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) if (one !== undefined) parameters.append(name, one);
  }
  const path = `${root}/${segments.map(encodeURIComponent).join("/")}`;
  return parameters.size ? `${path}?${parameters}` : path;
}

/** Ask for a key in a dialog, once at a time. Then call `use`, or say that nothing can be shown. */
export function askForKey(dialog, use, say) {
  if (dialog.open) return;
  dialog.addEventListener("close", () => {
    const { key } = dialog.querySelector("form").elements;
    useKey(key.value);
    key.value = "";
    if (dialog.returnValue === "use") use();
    else say("Without a key there is nothing to show. Reload to enter one.");
    dialog.returnValue = "";
  }, { once: true });
  dialog.showModal();
}
