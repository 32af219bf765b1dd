/** The catalogue: found by meaning, and what has come lately. */

import { address, call, Problem } from "./api.js";
import { element } from "./elements.js";
import { hint, itemLink, number, panel, table } from "./views.js";

export const TITLE = "Catalogue";
const LIMIT = 30;

export function show(view, _parts, { guard, signal }) {
  const words = element("input", { name: "q", autocomplete: "off", maxLength: 1000, placeholder: "slow films about the sea" });
  const [category, tag] = ["category", "tag"].map((name) => element("input", { name, autocomplete: "off", maxLength: 256 }));
  const form = element("form", { className: "ask" }, [
    element("label", {}, ["What it is about", words]), element("label", { className: "narrow" }, ["Category", category]), element("label", { className: "narrow" }, ["Tag", tag]),
    element("button", { className: "primary", textContent: "Find" }),
  ]);
  const place = element("div");
  view.append(panel("Find items", [form, hint("Without words: the newest. Items that lists may not have are found by their id alone.")]), place);
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
  }));
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
