/** A person in the playground: who they are, what they do, what they are recommended. Everything goes through the API. */

import { address, call, Problem } from "./api.js";
import "./eddyline.js";

export const LIST_LENGTH = 12;
const VISIBLE_WITHIN_MS = 5000;
const BETWEEN_PROBES_MS = 15;
const MAX_EXCLUDED = 30;

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const ids = (list) => list.items.map((item) => item.item_id).join("\n");

/** Ask again until `ask` returns something, at most five seconds. Returns it with the milliseconds since `started`. */
export async function eventually(ask, started = performance.now()) {
  for (;;) {
    const found = await ask();
    const milliseconds = performance.now() - started;
    if (found) return { found, milliseconds };
    if (milliseconds > VISIBLE_WITHIN_MS) return { found: null, milliseconds };
    await pause(BETWEEN_PROBES_MS);
  }
}

/** Return `null` where it is refused with one of these: by default, where there is no such thing (yet). */
export async function orNothing(promise, ...statuses) {
  try {
    return await promise;
  } catch (problem) {
    if (problem instanceof Problem && (statuses.length ? statuses : [404]).includes(problem.status)) return null;
    throw problem;
  }
}

export class Shopper {
  /** `user`: someone signed in; null: an anonymous visitor, under a random id. `root`: the element that they look at. */
  constructor(user, root) {
    this.userId = user;
    this.opened = [];
    this.problem = null;
    this.tracker = window.eddyline.create({ user, root, clicks: false, send: (body) => this.#send(body) });
  }

  /** Hand events to the API, with the key; return whether they are through, or refused for good. */
  async #send(body) {
    try {
      await call("POST", "/v1/events", JSON.parse(body));
      this.problem = null;
    } catch (problem) {
      this.problem = problem;
    }
    return !this.problem?.isPassing;
  }

  /** Wait until what was tracked is acknowledged. Throws `Problem`. */
  async #acknowledged() {
    await this.tracker.flush();
    if (this.problem) throw this.problem;
  }

  get isAnonymous() {
    return this.userId === null;
  }

  /** What is known of them: counts and recent items; null while that is nothing. Nobody may ask it of an anonymous id. */
  async summary() {
    return this.isAnonymous ? null : orNothing(call("GET", address(["users", this.userId])));
  }

  /** Their list, explained. A `probe` isn't counted as shown unless an impression says so. */
  recommend(options, probe = false, limit = LIST_LENGTH) {
    return call("POST", "/v1/recommendations", {
      ...this.tracker.ids(),
      ...options,
      surface: "playground",
      explain: true,
      batch: probe,
      limit,
    });
  }

  /** Send what they did with an item; return the milliseconds until it was acknowledged. */
  async act(type, item, requestId) {
    const started = performance.now();
    this.tracker.track(type, item.item_id, { request_id: requestId });
    await this.#acknowledged();
    this.opened = [{ ...item, hidden: type === "hide" }, ...this.opened.filter((one) => one.item_id !== item.item_id)];
    return performance.now() - started;
  }

  /** Ask for the list until it knows of the item: without it where it was listed, and else changed. */
  awaitMove(before, item, options, started) {
    const wasListed = before.items.some((one) => one.item_id === item.item_id);
    const order = ids(before);
    return eventually(async () => {
      const list = await this.recommend(options, true);
      const moved = wasListed ? !list.items.some((one) => one.item_id === item.item_id) : ids(list) !== order;
      return moved ? list : null;
    }, started);
  }

  /** Say what they are interested in, and wait until that is known. */
  async answer(interests) {
    await call("PUT", address(["users", this.userId]), { interests });
    return eventually(async () => (await this.summary())?.onboarded);
  }

  /** Sign in: what they did anonymously becomes this user's. */
  async signIn(user) {
    this.tracker.identify(user);
    await this.#acknowledged();
    this.userId = user;
  }

  /** Erase them, and wait until nothing is known. */
  async forget() {
    const path = this.isAnonymous ? ["anonymous", this.tracker.ids().anonymous_id] : ["users", this.userId];
    await call("DELETE", address(path));
    return eventually(async () => (await this.recommend({}, true, 1)).cold_start);
  }

  /** The item that they chose last, here or before; null where there is none. */
  async lastChosen() {
    const here = this.opened.find((item) => !item.hidden);
    if (here) return here;
    const recent = (await this.summary())?.recents[0];
    return recent === undefined ? null : orNothing(call("GET", address(["items", recent])));
  }

  /** Items that go with one, without what they have just met. */
  goesWith(item) {
    const met = this.opened.slice(0, MAX_EXCLUDED).map((one) => one.item_id);
    return call("GET", address(["items", item.item_id, "similar"], { relation: "any", explain: true, exclude: met, limit: LIST_LENGTH }));
  }
}

/** Find someone at random: of the people who have chosen one of the popular items lately. Null where there is nobody, or
 * where the key doesn't allow to know who. */
export async function someone() {
  const { items } = await call("GET", address(["trending"], { window: "week", limit: 100 }));
  for (const item of shuffled(items).slice(0, 5)) {
    const audience = await orNothing(call("GET", address(["items", item.item_id, "audience"], { limit: 100 })), 403, 404);
    const users = (audience?.people ?? []).map((one) => one.user_id).filter(Boolean);
    if (users.length) return shuffled(users)[0];
  }
  return null;
}

/** Categories of the catalogue that a newcomer may choose, the most frequent first. */
export async function interests(limit = 24) {
  const lists = await Promise.all([
    call("GET", address(["trending"], { window: "week", limit: 100 })),
    call("GET", address(["latest"], { limit: 100 })),
  ]);
  const counts = new Map();
  for (const { category } of lists.flatMap((list) => list.items)) {
    if (category) counts.set(category, (counts.get(category) ?? 0) + 1);
  }
  return [...counts].sort((one, other) => other[1] - one[1]).slice(0, limit).map(([category]) => category);
}

function shuffled(list) {
  return list.map((one) => [Math.random(), one]).sort((one, other) => one[0] - other[0]).map(([, one]) => one);
}
