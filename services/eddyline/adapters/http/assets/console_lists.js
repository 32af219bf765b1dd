/** Two strategies, or variants of experiments, for the same person, side by side; and what the filters took away. */

import { address, call, Problem } from "./api.js";
import { element } from "./elements.js";
import { linesPlot } from "./plots.js";
import { positiveSum } from "./terms.js";
import { duration, facts, hint, itemLink, listTable, number, panel, personFields, table } from "./views.js";

export const TITLE = "Lists side by side";
const LIMIT = 20;
const ROOT = "/console/api";
const TERMS_SHOWN = 3;
const LINES = 8;

export function show(view, [kind = "u", id = ""], { guard, signal }) {
  const person = personFields(kind, id, "nobody in particular");
  const [one, other] = ["One", "Another"].map((name) => element("select", { name: name.toLowerCase() }));
  const [category, tag] = ["category", "tag"].map((name) => element("input", { name, autocomplete: "off", maxLength: 256 }));
  const labelled = (text, field) => element("label", { className: "narrow" }, [text, field]);
  const form = element("form", { className: "ask" }, [
    ...person.labels, labelled("One", one), labelled("Another", other), labelled("Category", category), labelled("Tag", tag),
    element("button", { className: "primary", textContent: "Compare" }),
  ]);
  const [shown, taken, strategies] = [element("div", { className: "view-part" }), element("div"), element("div")];
  view.append(panel("For whom, and by what?", [form]), shown, taken, strategies);
  const compare = () => guard(async () => {
    const who = { kind: person.kind.value, id: person.id.value.trim() };
    const narrowed = Object.fromEntries([category, tag].map(({ name, value }) => [name, value.trim()]).filter(([, value]) => value));
    const [lists, counts] = await Promise.all([
      Promise.all([one.value, other.value].map((way) => ask(way, who, narrowed))),
      countFiltered(who, narrowed),
    ]);
    if (signal.aborted) return;
    shown.replaceChildren(...side([nameOf(one), nameOf(other)], lists));
    taken.replaceChildren(panel("What the filters took away", counts));
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    compare();
  });
  guard(async () => {
    const [known, running, history] = await Promise.all([call("GET", address(["strategies"])), ...["variants", "weights"].map((name) => call("GET", address([name], {}, ROOT)))]);
    if (signal.aborted) return;
    const names = known.strategies.map(({ name }) => name);
    for (const select of [one, other]) select.replaceChildren(...options("Strategies", "strategy", names), ...options("Variants", "variant", running.variants));
    one.value = `strategy:${known.usual}`;
    other.value = `strategy:${names.find((name) => name !== known.usual) ?? known.usual}`;
    const faults = running.fault ? [hint(running.fault)] : [];
    const learned = known.strategies.filter((strategy) => strategy.learned);
    strategies.replaceChildren(panel("The strategies", [...faults, facts(known.strategies.map((one) => describe(one, known.usual))), ...learned.map(({ name }) => weightsPlot(name, history))]));
    await compare();
  });
}

function options(label, kind, names) {
  return names.length ? [element("optgroup", { label }, names.map((name) => element("option", { value: `${kind}:${name}`, textContent: name })))] : [];
}

function nameOf(select) {
  return select.selectedOptions[0].textContent;
}

/** Ask for the list of a strategy, or of a variant. */
function ask(way, { kind, id }, filter) {
  const place = way.indexOf(":");
  const [what, name] = [way.slice(0, place), way.slice(place + 1)];
  const who = id ? { [kind === "u" ? "user_id" : "anonymous_id"]: id } : {};
  const body = { ...who, filter, explain: true, batch: true, limit: LIMIT, ...(what === "strategy" && { strategy: name }) };
  return call("POST", "/v1/recommendations", body, what === "variant" ? { "Eddyline-Variant": name } : {});
}

// -- the difference --------------------------------------------------------------------------------------------------

function side([one, other], [left, right]) {
  const places = (list) => new Map(list.items.map((item) => [item.item_id, item]));
  const [mine, theirs] = [places(left), places(right)];
  const both = left.items.filter(({ item_id: id }) => theirs.has(id));
  const unmoved = both.filter(({ item_id: id, rank }) => theirs.get(id).rank === rank);
  const words = [
    `${both.length} of ${Math.max(left.items.length, right.items.length)} items are in both, ${unmoved.length} of them in the same place.`,
    left.cold_start ? " Nothing is known of the person." : "", left.degraded || right.degraded ? " From a cache: the store doesn't answer." : "",
  ];
  return [
    hint(words.join("")),
    element("div", { className: "side-by-side" }, [list(one, left, theirs), list(other, right, mine)]),
    panel("The difference", [difference(one, other, mine, theirs)]),
  ];
}

function list(name, mine, theirs) {
  const there = ({ item_id: id, rank }) => {
    const place = theirs.get(id)?.rank;
    return place === undefined ? element("span", { className: "well", textContent: "only here" }) : place === rank ? "same place" : `number ${place}`;
  };
  return panel(name, [mine.items.length ? listTable(mine.items, `By ${name}`, [["There", there]], true) : hint(mine.reason ?? "empty")], "h3");
}

/** Each item that isn't in the same place, with the terms that it owes that to. */
function difference(one, other, mine, theirs) {
  const rows = [...new Map([...mine, ...theirs]).values()]
    .map((item) => ({ item, here: mine.get(item.item_id), there: theirs.get(item.item_id) }))
    .filter(({ here, there }) => here?.rank !== there?.rank);
  if (!rows.length) return hint("none: both lists are the same");
  const place = (found) => (found ? String(found.rank) : "–");
  const columns = [
    ["Item", ({ item }) => itemLink(item.item_id, item.title), "plain"],
    [one, ({ here }) => place(here), "number"], [other, ({ there }) => place(there), "number"],
    [`Score by ${one}`, ({ here }) => (here ? number(here.score) : "–"), "number"], [`Score by ${other}`, ({ there }) => (there ? number(there.score) : "–"), "number"],
    [`Terms' shares of the score, by ${other} and not ${one}`, ({ here, there }) => (here && there ? changes(here, there) : "in one list alone")],
  ];
  return table(columns, rows, `What differs between ${one} and ${other}`);
}

/** The terms whose share of the score differs the most: strategies have scales of their own. */
function changes(before, after) {
  const [was, is] = [shares(before), shares(after)];
  const all = Object.keys({ ...was, ...is }).map((term) => [term, Math.round(100 * ((is[term] ?? 0) - (was[term] ?? 0)))]);
  const large = all.filter(([, change]) => change).sort((first, second) => Math.abs(second[1]) - Math.abs(first[1]));
  return large.slice(0, TERMS_SHOWN).map(([term, change]) => `${term} ${change > 0 ? "+" : "−"}${Math.abs(change)} %`).join(", ") || "the same";
}

function shares(item) {
  const sum = positiveSum(item) || 1;
  return Object.fromEntries(Object.entries(item.scores ?? {}).map(([term, value]) => [term, value / sum]));
}

// -- filters -----------------------------------------------------------------------------------------------------------

async function countFiltered({ kind, id }, narrowed) {
  try {
    const { items, taken, left } = await call("GET", address(id ? ["people", kind, id, "filters"] : ["filters"], narrowed, ROOT));
    const rows = [{ why: "in the catalogue", items }, ...taken.filter((one) => one.items), { why: "left for ranking", items: left, is_left: true }];
    const columns = [["Items", (one) => element(one.is_left ? "strong" : "span", { textContent: one.why }), "plain"], ["Number", (one) => `${one.is_left || one === rows[0] ? "" : "− "}${number(one.items)}`, "number"]];
    return [table(columns, rows, "Items that each filter takes away"), hint("Each filter counts what those above it left. Ranking then leaves out the same thing twice, and what is beyond the caps of a category or brand.")];
  } catch (problem) {
    if (!(problem instanceof Problem) || problem.isPassing || problem.status === 401) throw problem;
    return [hint(problem.message)];
  }
}

// -- strategies --------------------------------------------------------------------------------------------------------

function describe({ name, learned, weights, choices, loss, shipped_loss: shippedLoss }, usual) {
  const terms = Object.entries(weights.running).sort((first, second) => second[1] - first[1]).map(([term, weight]) => `${term} ${number(weight)}`).join(", ");
  const late = choices ? `, a loss of ${number(loss, 3)} nats where the shipped weights had ${number(shippedLoss, 3)}` : "";
  return [name, `${name === usual ? "the usual one; " : ""}${learned ? `learnt from ${number(choices ?? 0)} choices${late}; ` : ""}${terms || "no weights"}`];
}

/** What a learned strategy has weighed by, since this process made a list. */
function weightsPlot(name, { at, series }) {
  const own = series.filter(({ strategy, visit, weights }) => strategy === name && visit === "running" && weights.at(-1)).sort((first, second) => second.weights.at(-1) - first.weights.at(-1)).slice(0, LINES);
  const first = Math.min(...own.map(({ weights }) => weights.findIndex((weight) => weight !== null)));
  if (!own.length || first >= at.length - 1) return hint(`What ${name} weighs by is drawn once there are two readings, five minutes apart.`);
  const most = Math.max(...own.flatMap(({ weights }) => weights));
  const span = at.at(-1) - at[first] || 1;
  const lines = own.map(({ term, weights }) => ({
    label: `${term} ${number(weights.at(-1))}`,
    points: weights.map((weight, place) => [(at[place] - at[first]) / span, weight === null ? null : weight / most]),
  }));
  return linesPlot(`Weights of ${name} over time`, lines, [], `${duration(span)} ago`, "now");
}
