/** An item: what is stored, whether lists may have it, and what goes with it. */

import { address, call, Problem } from "./api.js";
import { element, pageAddress } from "./elements.js";
import { barPlot } from "./plots.js";
import { ago, facts, hint, listTable, number, panel, personLink, table, words } from "./views.js";

export const TITLE = "Item";
const DAY = 86_400;
const HALF_LIVES = { quarter: ["90 days", 90 * DAY], week: ["a week", 7 * DAY], day: ["a day", DAY], hour: ["an hour", DAY / 24] };

export function show(view, [id = ""], { guard, signal }) {
  const input = element("input", { name: "id", value: id, required: true, maxLength: 512, autocomplete: "off", spellcheck: false });
  const form = element("form", { className: "ask" }, [element("label", {}, ["Id", input]), element("button", { className: "primary", textContent: "Show" })]);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    location.hash = `#/item/${encodeURIComponent(input.value.trim())}`;
  });
  view.append(panel("Which item?", [form, hint("The catalogue finds one by what it is about.")]));
  if (!id) return;
  const shown = element("div", { className: "view-part" });
  view.append(shown);
  guard(async () => {
    const known = await call("GET", address(["items", id], {}, "/console/api"));
    if (!signal.aborted) shown.replaceChildren(...describe(known));
  });
}

function describe(known) {
  const meta = known.meta ?? {};
  const url = pageAddress(meta.url);
  const { item_id: id, faults } = known;
  const servable = faults.length
    ? element("ul", { className: "ill" }, faults.map((fault) => element("li", { textContent: fault })))
    : element("span", { className: "well", textContent: "yes" });
  const stored = facts([
    ["Id", element("bdi", { textContent: id })],
    ["In lists", servable],
    ["Category", meta.category && element("bdi", { textContent: meta.category })],
    ["Tags", meta.tags?.length ? words(meta.tags.slice(0, 40)) : null],
    ["Text", meta.description && element("bdi", { textContent: meta.description.slice(0, 600) })],
    ["Page", url && element("a", { href: url, target: "_blank", rel: "noopener noreferrer", textContent: url })],
    ["Price", known.offer?.price === undefined || known.offer?.price === null ? null : number(known.offer.price)],
    ["Attributes", meta.attributes && Object.keys(meta.attributes).length ? JSON.stringify(meta.attributes) : null],
    ["Picture", known.image?.state ? [known.image.state, known.image.message].filter(Boolean).join(": ") : null],
    ["Listed", known.listed_at && ago(known.listed_at)],
    ["Model", known.space],
    ["Learnt from", `${number(known.followed)} items that people came from`],
  ]);
  // A fading count over how long it remembers is a rate: to the right, of ever shorter a past.
  const trend = Object.entries(HALF_LIVES).map(([window, [name, halfLife]]) => [name, known.trend[window] ?? 0, (known.trend[window] ?? 0) * Math.LN2 / (halfLife / DAY)]);
  const rates = trend.map(([name, , rate]) => [name, rate]);
  return [
    element("h2", {}, [element("bdi", { textContent: meta.title ?? id })]),
    element("div", { className: "columns" }, [
      panel("What is stored", [stored]),
      panel("Its trend", [
        barPlot("People a day who chose it, by half-life", rates, number),
        facts(trend.map(([name, count, rate]) => [`half-life ${name}`, `${number(rate)} a day (${number(count)} people, fading)`])),
        hint("People a day who chose it, each fading with the half-life: rising to the right, it is chosen more than before."),
      ]),
    ]),
    element("div", { className: "columns" }, [
      part("Similar by text and picture", () => similar(id, "substitute")),
      part("What people went on to", () => similar(id, "complement")),
    ]),
    part("Who has it in their recent history", () => audience(id)),
  ];
}

/** A box that is filled when there is an answer, and says why there is none. */
function part(title, ask) {
  const place = element("div", {}, [hint("…")]);
  ask().then((made) => place.replaceChildren(made), (problem) => {
    if (!(problem instanceof Problem)) throw problem;
    place.replaceChildren(hint(problem.message));
  });
  return panel(title, [place]);
}

async function similar(id, relation) {
  const found = await call("GET", address(["items", id, "similar"], { relation, explain: true, limit: 8 }));
  return found.items.length ? listTable(found.items, relation, [], true) : hint(found.reason ?? "none");
}

async function audience(id) {
  const { people, reason } = await call("GET", address(["items", id, "audience"], { limit: 20 }));
  if (!people.length) return hint(reason ?? "nobody");
  const columns = [["Person", (one) => (one.user_id ? personLink("u", one.user_id) : personLink("a", one.anonymous_id)), "plain"], ["Weight", (one) => number(one.score), "number"]];
  return table(columns, people, "People who have it in their recent history");
}
