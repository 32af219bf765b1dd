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

/** Call a route; return the decoded answer. Throws `Problem`. */
export async function call(method, path, body) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
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

/** Write a path with ids, and a query; parameters that are undefined are left out, lists are repeated. */
export function address(segments, query = {}) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) if (one !== undefined) parameters.append(name, one);
  }
  const path = `/v1/${segments.map(encodeURIComponent).join("/")}`;
  return parameters.size ? `${path}?${parameters}` : path;
}
