/** The catalogue: found by meaning, what has come lately, and the feeds that items come from. */

import { address, call, Problem } from "./api.js";
import { element, pageAddress } from "./elements.js";
import { ago, duration, hint, itemLink, number, panel, table } from "./views.js";

export const TITLE = "Catalogue and feeds";
const LIMIT = 30;

export function show(view, _parts, { guard, signal }) {
  const words = element("input", { name: "q", autocomplete: "off", maxLength: 1000, placeholder: "slow films about the sea" });
  const [category, tag] = ["category", "tag"].map((name) => element("input", { name, autocomplete: "off", maxLength: 256 }));
  const form = element("form", { className: "ask" }, [
    element("label", {}, ["What it is about", words]), element("label", { className: "narrow" }, ["Category", category]), element("label", { className: "narrow" }, ["Tag", tag]),
    element("button", { className: "primary", textContent: "Find" }),
  ]);
  const [place, feeds] = [element("div"), element("div")];
  view.append(panel("Find items", [form, hint("Without words: the newest. Items that lists may not have are found by their id alone.")]), place, feeds);
  const more = element("button", { type: "button", textContent: "More" });
  let [items, next] = [[], null];
  const ask = async (isMore) => {
    const query = { limit: LIMIT, category: category.value.trim() || undefined, tag: tag.value.trim() || undefined, next: isMore ? next : undefined };
    const q = words.value.trim();
    const found = await call("GET", q ? address(["search"], { q, ...query }) : address(["latest"], query));
    if (signal.aborted) return;
    items = isMore ? [...items, ...found.items] : found.items;
    next = found.next ?? null;
    more.hidden = next === null;
    place.replaceChildren(panel(q ? "Found" : "The newest", items.length ? [list(items, q), more] : [hint(found.reason ?? "there is none")]));
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    guard(() => ask(false));
  });
  more.addEventListener("click", () => guard(() => ask(true)));
  guard(() => ask(false).catch((problem) => {
    if (!(problem instanceof Problem) || problem.isPassing || problem.status === 401) throw problem;
    place.replaceChildren(hint(problem.message));
  }).finally(() => signal.aborted || showFeeds(feeds)));
}

/** Every feed, and how reading it goes. */
async function showFeeds(place) {
  try {
    const { feeds } = await call("GET", address(["feeds"]));
    place.replaceChildren(panel("Feeds", [feeds.length ? feedTable(feeds) : hint("None is read: POST /v1/feeds, or [[feed]] in the settings, adds one.")]));
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    place.replaceChildren(panel("Feeds", [hint(problem.status === 404 ? "No feeds are known in this process: ask one with the role feeds." : problem.message)]));
  }
}

function feedTable(feeds) {
  const columns = [
    ["Feed", ({ name, url }) => element("span", {}, [element("bdi", { textContent: name }), element("br"), feedLink(url)]), "plain"],
    ["State", state, "plain"],
    ["Last read", (one) => ago(one.last_success), "brief"],
    ["Next", (one) => (one.ended ? "never" : one.next_at ? until(one.next_at) : "soon")],
    ["Entries", (one) => number(one.entries), "number"], ["Refused", (one) => number(one.refused), "number"], ["Items written", (one) => number(one.items), "number"],
  ];
  return table(columns, feeds, "Feeds, and how reading them goes", (one) => (one.error || one.ended || one.shrunk ? "ill" : null));
}

function feedLink(url) {
  const href = pageAddress(url);
  return href ? element("a", { href, target: "_blank", rel: "noopener noreferrer" }, [element("bdi", { textContent: url })]) : element("bdi", { textContent: url });
}

function state(feed) {
  const ill = [
    feed.ended && "ended: the host says that it is gone for good",
    feed.shrunk && "more than half of it is missing: deleted if that is so once more",
    feed.error && `${feed.error}${feed.failures > 1 ? `, ${number(feed.failures)} times in a row` : ""}`,
  ].filter(Boolean);
  if (ill.length) return element("bdi", { className: "ill", textContent: ill.join("; ") });
  return feed.last_success ? element("span", { className: "well", textContent: feed.format ?? "read" }) : "not read yet";
}

function until(text) {
  const seconds = (Date.parse(text) - Date.now()) / 1000;
  return seconds <= 0 ? "now" : `in ${duration(seconds)}`;
}

function list(items, q) {
  const columns = [
    ["Title", (one) => itemLink(one.item_id, one.title), "plain"],
    ["Id", (one) => element("bdi", { textContent: one.item_id })],
    ["Category", (one) => element("bdi", { textContent: one.category ?? "" })],
    ...(q ? [["Score", (one) => number(one.score), "number"]] : []),
  ];
  return table(columns, items, q ? "Items found" : "The newest items");
}
