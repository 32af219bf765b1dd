/** What comes in now, accepted or refused. */

import { address, follow } from "./api.js";
import { element } from "./elements.js";
import { facts, hint, itemLink, panel, personLink, table } from "./views.js";

export const TITLE = "Live events";
const KEPT = 200;
const SNIPPET = `<script src="${location.origin}/eddyline.js" data-consent="true"></script>`;

export function show(view, _parts, { signal, guard }) {
  const form = element("form", { className: "ask" }, [
    field("Person", "person"), field("Type", "type"), field("Key", "key"), field("List (request_id)", "request"),
    element("label", { className: "check" }, [element("input", { type: "checkbox", name: "refused" }), "refused alone"]),
    element("label", { className: "check" }, [element("input", { type: "checkbox", name: "paused" }), "hold still"]),
  ]);
  const [summary, rows] = [element("div"), element("div")];
  view.append(panel("What comes in now", [hint("From the moment this page was opened; nothing of it is kept.")]), panel("Filter", [form], "h3"), summary, rows);
  const seen = { events: [], total: 0, refused: 0, clicks: 0, joined: 0, impressions: 0, withPeople: true };
  let isDue = false;
  const draw = () => {
    isDue = false;
    if (signal.aborted) return;
    summary.replaceChildren(summarise(seen));
    if (!form.elements.paused.checked) rows.replaceChildren(list(seen.events.filter((one) => passes(one, form.elements)), form));
  };
  const soon = () => {
    if (!isDue) requestAnimationFrame(draw);
    isDue = true;
  };
  form.addEventListener("input", soon);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("filter", soon);
  draw();
  guard(() => follow(address(["events"], {}, "/console/api"), (message) => {
    if (message.watching) seen.withPeople = message.with_people;
    else note(seen, message);
    soon();
  }, signal));
}

function field(label, name) {
  return element("label", { className: "narrow" }, [label, element("input", { name, autocomplete: "off", spellcheck: false })]);
}

function note(seen, message) {
  seen.events = [message, ...seen.events].slice(0, KEPT);
  seen.total += 1;
  if (message.fault) seen.refused += 1;
  else if (message.event.type === "impression") seen.impressions += 1;
  else if (message.event.type === "click") {
    seen.clicks += 1;
    if (message.event.request_id) seen.joined += 1;
  }
}

function passes({ event, key, fault }, { person, type, key: name, request, refused }) {
  const has = (value, text) => !text.value.trim() || `${value ?? ""}`.includes(text.value.trim());
  return (
    (!refused.checked || fault) && has(event.type, type) && has(key, name) && has(event.request_id, request) &&
    (has(event.user_id, person) || has(event.anonymous_id, person))
  );
}

function summarise(seen) {
  const notes = [];
  if (!seen.total) notes.push(hint("Nothing has come yet. Send something, from a page by the tracker:"), element("pre", { tabIndex: 0 }, [element("code", { textContent: SNIPPET })]));
  if (seen.clicks && !seen.impressions) {
    notes.push(element("p", { className: "ill", textContent: "Clicks come, but no impressions: what people saw isn't reported, so click-through rates are guesses. The tracker reports it:" }));
    notes.push(element("pre", { tabIndex: 0 }, [element("code", { textContent: SNIPPET })]));
  }
  if (seen.clicks > seen.joined) notes.push(hint("Clicks without a request_id count for the last list that showed the item: send the list's along."));
  if (!seen.withPeople) notes.push(hint("Without the scope people, the key shows nobody's ids."));
  const counts = facts([
    ["Events", `${seen.total}, of which ${seen.refused} refused`],
    ["Impressions", `${seen.impressions}`],
    ["Clicks", `${seen.clicks}, of which ${seen.joined} name their list`],
  ]);
  return element("div", {}, [counts, ...notes]);
}

function list(events, form) {
  if (!events.length) return hint("Nothing that passes the filter.");
  const narrow = (id) => {
    const button = element("button", { type: "button", className: "link", textContent: id.slice(0, 8) + (id.length > 8 ? "…" : ""), title: id });
    button.addEventListener("click", () => {
      form.elements.request.value = id;
      form.dispatchEvent(new Event("filter"));
    });
    return button;
  };
  const columns = [
    ["Time", (one) => new Date(1000 * one.at).toLocaleTimeString("en-GB"), "number"],
    ["State", (one) => element("span", { className: one.fault ? "ill" : "well", textContent: one.fault ? "refused" : "accepted" })],
    ["Type", (one) => element("bdi", { textContent: one.event.type ?? "" })],
    ["Person", ({ event }) => (event.user_id ? personLink("u", event.user_id) : event.anonymous_id ? personLink("a", event.anonymous_id) : "")],
    ["Item", ({ event }) => (event.item_id ? itemLink(event.item_id) : event.positions ? `places ${event.positions.join(", ")}` : "")],
    ["List", ({ event }) => (event.request_id ? narrow(event.request_id) : "")],
    ["Key", (one) => one.key],
    ["What is wrong", ({ fault }) => (fault ? element("bdi", { className: "ill", textContent: `${fault.field ?? "body"}: ${fault.reason}` }) : "")],
  ];
  return table(columns, events, "Events, the newest first", (one) => (one.fault ? "ill" : null));
}
