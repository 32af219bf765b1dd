/** Two strategies for the same person, side by side. */

import { address, call } from "./api.js";
import { element } from "./elements.js";
import { facts, hint, listTable, number, panel } from "./views.js";

export const TITLE = "Lists side by side";
const LIMIT = 20;

export function show(view, [id = ""], { guard, signal }) {
  const person = element("input", { name: "person", value: id, autocomplete: "off", spellcheck: false, placeholder: "nobody in particular" });
  const [one, other] = ["One", "Other"].map((name) => element("select", { ariaLabel: name }));
  const form = element("form", { className: "ask" }, [
    element("label", {}, ["User", person]), element("label", { className: "narrow" }, ["One strategy", one]), element("label", { className: "narrow" }, ["Another", other]),
    element("button", { className: "primary", textContent: "Compare" }),
  ]);
  const shown = element("div");
  view.append(panel("For whom, and by what?", [form]), shown);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    guard(() => compare(shown, person.value.trim(), one.value, other.value, signal));
  });
  guard(async () => {
    const { usual, strategies } = await call("GET", address(["strategies"]));
    if (signal.aborted) return;
    for (const select of [one, other]) select.replaceChildren(...strategies.map(({ name }) => element("option", { value: name, textContent: name })));
    one.value = usual;
    other.value = strategies.find(({ name }) => name !== usual)?.name ?? usual;
    view.append(panel("The strategies", strategies.map((strategy) => describe(strategy, usual))));
    await compare(shown, person.value.trim(), one.value, other.value, signal);
  });
}

function describe({ name, learned, weights, choices }, usual) {
  const terms = Object.entries(weights.running).sort((first, second) => second[1] - first[1]).map(([term, weight]) => `${term} ${number(weight)}`).join(", ");
  return facts([
    [name, `${name === usual ? "the usual one; " : ""}${learned ? `learnt from ${number(choices ?? 0)} choices; ` : ""}${terms || "no weights"}`],
  ]);
}

async function compare(place, user, one, other, signal) {
  const ask = (strategy) => call("POST", "/v1/recommendations", { ...(user && { user_id: user }), strategy, explain: true, batch: true, limit: LIMIT });
  const [left, right] = await Promise.all([ask(one), ask(other)]);
  if (signal.aborted) return;
  const shared = left.items.filter((item) => right.items.some(({ item_id }) => item_id === item.item_id)).length;
  place.replaceChildren(
    hint(`${shared} of ${Math.max(left.items.length, right.items.length)} items are in both.${left.cold_start ? " Nothing is known of the person." : ""}`),
    element("div", { className: "side-by-side" }, [list(one, left, right), list(other, right, left)]),
  );
}

function list(name, mine, theirs) {
  const places = new Map(theirs.items.map((item) => [item.item_id, item.rank]));
  const there = (item) => {
    const rank = places.get(item.item_id);
    return rank === undefined ? element("span", { className: "well", textContent: "only here" }) : rank === item.rank ? "same place" : `number ${rank}`;
  };
  return panel(name, [mine.items.length ? listTable(mine.items, `By ${name}`, [["There", there]], ["Category"]) : hint(mine.reason ?? "empty")], "h3");
}
