/** Someone: what is known of them, and why their list is as it is. */

import { address, call, Problem } from "./api.js";
import { element } from "./elements.js";
import { linesPlot } from "./plots.js";
import { ago, duration, facts, hint, itemLink, listTable, meter, number, panel, personFields, personLink, table, words } from "./views.js";

export const TITLE = "Person";
const LIMIT = 20;
const MINUTE = 60;
const PLOTTED = 80;

export function show(view, [kind = "u", id = ""], context) {
  const form = askWhom(kind, id);
  view.append(panel("Who?", [form]));
  if (!id) return;
  const shown = element("div", { className: "view-part" });
  view.append(shown);
  context.guard(async () => {
    const known = await call("GET", address(["people", kind, id], {}, "/console/api"));
    if (context.signal.aborted) return;
    shown.replaceChildren(...describe(known, kind, id, context));
  });
}

function askWhom(kind, id) {
  const fields = personFields(kind, id);
  fields.id.required = true;
  const form = element("form", { className: "ask" }, [...fields.labels, element("button", { className: "primary", textContent: "Show" })]);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    location.hash = `#/person/${fields.kind.value}/${encodeURIComponent(fields.id.value.trim())}`;
  });
  return form;
}

function describe(known, kind, id, context) {
  const [actualKind, actualId] = [known.person[0], known.person.slice(2)];
  const erase = element("button", { type: "button", className: "grave", textContent: "Erase" });
  erase.addEventListener("click", async () => {
    if (!(await context.confirm(`Erase ${actualId}?`, "What they did and answered is forgotten for good, with all their anonymous ids.", "Erase"))) return;
    context.guard(async () => {
      await call("DELETE", address(actualKind === "u" ? ["users", actualId] : ["anonymous", actualId]));
      context.say(`${actualId} is being erased.`);
    });
  });
  const who = facts([
    ["Id", element("bdi", { textContent: actualId })],
    ["Asked for", known.asked === known.person ? null : element("span", {}, [element("bdi", { textContent: known.asked.slice(2) }), ", which was identified as theirs"])],
    ["Events", `${number(known.events)}, of weight ${number(known.evidence)}`],
    ["Last seen", ago(known.last_seen)],
    ["Segment", known.segment],
    ["Answers", known.onboarded ? "yes" : "none"],
    ["Attributes", Object.keys(known.attributes).length ? JSON.stringify(known.attributes) : null],
    ["Anonymous ids", known.anonymous_ids.length ? element("span", { className: "words" }, known.anonymous_ids.slice(-20).map((one) => personLink("a", one))) : "none"],
    ["Waiting", known.pending.length ? `${known.pending.length} for an item that isn't there yet: ${known.pending.slice(0, 5).map((one) => one.item_id).join(", ")}` : null],
  ]);
  const heaviest = Math.max(...known.recents.map(({ weight }) => weight));
  const recents = [
    ["Item", (one) => itemLink(one.item_id, one.title), "plain"], ["Category", (one) => one.category ?? ""],
    ["When", (one) => ago(one.at), "brief"], ["Weight", (one) => element("span", {}, [meter(one.weight / heaviest), ` ${number(one.weight)}`]), "brief"],
  ];
  const hidden = [["Item", (one) => itemLink(one.item_id, one.title), "plain"], ["Why", (one) => one.kind], ["Since", (one) => ago(one.at), "brief"]];
  const shown = [["Item", (one) => itemLink(one.item_id, one.title), "plain"], ["Times, fading", (one) => number(one.times), "number"]];
  return [
    element("div", { className: "columns" }, [
      panel("Who they are", [who, element("p", { className: "ask" }, [
        element("a", { href: `#/lists/${actualKind}/${encodeURIComponent(actualId)}`, textContent: "Compare their lists" }), erase,
      ])]),
      panel("What they like, in words", known.tastes.length ? known.tastes.map(taste) : [hint("nothing is known of it yet")]),
    ]),
    list(actualKind, actualId, context),
    ...(known.recents.length ? [panel("Recent items over time", [fading(known)])] : []),
    element("div", { className: "columns wide" }, [
      panel("Recent items", [known.recents.length ? table(recents, known.recents, "Recent items, the newest first") : hint("none")]),
      panel(`Left out of lists (${known.hidden_total})`, [known.hidden.length ? table(hidden, known.hidden, "Items that are hidden, and why") : hint("nothing"), hint("Whether viewed and bought items are left out is the request's or the settings' hide.")]),
      panel("Shown and left alone", [known.shown.length ? table(shown, known.shown, "Items shown without a reaction") : hint("nothing")]),
    ]),
  ];
}

/** When the recent items came, how much each weighs, and what an event of then still counts in each memory. A session is
 * minutes, a lifetime months: the axis is logarithmic. */
function fading({ recents, tastes }) {
  const ages = recents.map(({ at }) => Math.max(0, (Date.now() - Date.parse(at)) / 1000));
  const fades = tastes.filter(({ half_life: halfLife }) => halfLife);
  const oldest = Math.max(...ages, ...fades.map(({ half_life: halfLife }) => 2 * halfLife), 3600);
  const place = (age) => Math.log1p(age / MINUTE) / Math.log1p(oldest / MINUTE);
  const steps = Array.from({ length: PLOTTED }, (_, step) => MINUTE * Math.expm1((Math.log1p(oldest / MINUTE) * step) / (PLOTTED - 1)));
  const lines = fades.map(({ name, half_life: halfLife }) => ({
    label: `what ${name} keeps of an event`,
    points: steps.map((age) => [place(age), 2 ** (-age / halfLife)]),
  }));
  const heaviest = Math.max(...recents.map(({ weight }) => weight));
  const stems = recents.map(({ title, item_id: id, weight }, at) => ({ label: `${title ?? id}: weight ${number(weight)}, ${duration(ages[at])} ago`, x: place(ages[at]), y: weight / heaviest }));
  return element("div", {}, [
    linesPlot("Recent items by their weight, over time", lines, stems, "now", `${duration(oldest)} ago`),
    hint("Each stroke is an item, as high as it weighs when others are found by it. The axis is logarithmic."),
  ]);
}

function taste({ name, weight, half_life: halfLife, categories, tags, nearest }) {
  const fades = halfLife ? `weighs ${number(weight)}, halves in ${duration(halfLife)}` : "does not fade";
  const near = nearest.filter(Boolean).slice(0, 3).join(" · ");
  return element("div", {}, [
    element("p", {}, [element("strong", { textContent: name }), element("span", { className: "hint", textContent: ` ${fades}` })]),
    words([...new Map([...tags, ...categories])].sort((one, other) => other[1] - one[1]).map(([word, count]) => `${word} ${count}`)),
    element("p", { className: "hint" }, ["nearest: ", element("bdi", { textContent: near || "no item" })]),
  ]);
}

/** Their list now, and what it would be if they clicked on something. */
function list(kind, id, { guard, signal }) {
  const input = element("input", { name: "item", autocomplete: "off", spellcheck: false, placeholder: "id of an item" });
  const form = element("form", { className: "ask" }, [element("label", {}, ["What if they clicked on", input]), element("button", { textContent: "Try" })]);
  const place = element("div");
  const who = kind === "u" ? { user_id: id } : { anonymous_id: id };
  const ask = (recent) => call("POST", "/v1/recommendations", { ...who, recent, explain: true, batch: true, limit: LIMIT });
  let before = null;
  const draw = async () => {
    const clicked = input.value.trim();
    before ??= await ask([]);
    const now = clicked ? await ask([{ item_id: clicked, type: "click" }]) : before;
    if (signal.aborted) return;
    const was = new Map(before.items.map((one) => [one.item_id, one.rank]));
    const moves = clicked ? [["Move", (one) => move(was.get(one.item_id), one.rank)]] : [];
    const note = `${now.strategy}${now.experiment ? `, ${now.experiment}/${now.variant}` : ""}${now.cold_start ? ", nothing known yet" : ""}${now.degraded ? ", from a cache" : ""}`;
    place.replaceChildren(hint(note), now.items.length ? listTable(now.items, "Their list now", moves) : hint(now.reason ?? "empty"));
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    guard(draw);
  });
  draw().catch((problem) => {
    if (!(problem instanceof Problem)) throw problem;
    place.replaceChildren(hint(problem.message));
  });
  return panel("Their list now", [form, place]);
}

function move(before, now) {
  if (before === undefined) return element("span", { className: "well", textContent: "new" });
  return before === now ? "" : before > now ? `▲ ${before - now}` : `▼ ${now - before}`;
}
