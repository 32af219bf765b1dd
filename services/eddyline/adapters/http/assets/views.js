/** What the pages of the console are made of. */

import { element } from "./elements.js";
import { fillTerms, positiveSum } from "./terms.js";

/** A box with a heading. */
export function panel(title, children, level = "h2") {
  return element("section", { className: "panelled" }, [element(level, { textContent: title }), ...children]);
}

export function counted(count, noun) {
  return `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
}

export function hint(text) {
  return element("p", { className: "hint", textContent: text });
}

/** A table. `columns`: [heading, cell(row), class]; a cell is text or an element. `state(row)`: "ill" marks it. */
export function table(columns, rows, caption, state = () => null) {
  const cell = (tag, content, className) => element(tag, { className: className ?? "" }, [content ?? ""]);
  const head = element("tr", {}, columns.map(([name, , className]) => Object.assign(cell("th", name, className), { scope: "col" })));
  const body = rows.map((row) => {
    const line = element("tr", {}, columns.map(([, show, className]) => cell("td", show(row), className)));
    if (state(row)) line.dataset.state = state(row);
    return line;
  });
  const made = element("table", {}, [element("caption", { className: "hidden", textContent: caption }), element("thead", {}, [head]), element("tbody", {}, body)]);
  const scroll = element("div", { className: "scroll", tabIndex: 0, role: "region" }, [made]);
  scroll.setAttribute("aria-label", caption);
  return scroll;
}

export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return element("dl", { className: "facts" }, shown.flatMap(([name, value]) => [element("dt", { textContent: name }), element("dd", {}, [value])]));
}

export function figure(name, value, isIll = false) {
  const card = element("div", { className: "figure-card" }, [element("dt", { textContent: name }), element("dd", { textContent: value })]);
  if (isIll) card.dataset.state = "ill";
  return card;
}

export function words(list) {
  return element("span", { className: "words" }, list.map((text) => element("bdi", { className: "word", textContent: text })));
}

export function meter(share) {
  const fill = element("span");
  fill.style.width = `${Math.round(100 * Math.min(1, Math.max(0, share)))}%`;
  return element("span", { className: "meter", ariaHidden: "true" }, [fill]);
}

/** Fields that ask for a person: a user, or someone anonymous. */
export function personFields(kind, id, placeholder = "") {
  const select = element("select", { name: "kind" }, [element("option", { value: "u", textContent: "a user" }), element("option", { value: "a", textContent: "anonymous" })]);
  select.value = kind === "a" ? "a" : "u";
  const input = element("input", { name: "id", value: id, placeholder, maxLength: 512, autocomplete: "off", spellcheck: false });
  return { kind: select, id: input, labels: [element("label", { className: "narrow" }, ["Kind", select]), element("label", {}, ["Id", input])] };
}

/** Links to the pages of a person and an item. */
export function personLink(kind, id, text = id) {
  return element("a", { href: `#/person/${kind}/${encodeURIComponent(id)}` }, [element("bdi", { textContent: text })]);
}

export function itemLink(id, title) {
  return element("a", { href: `#/item/${encodeURIComponent(id)}` }, [element("bdi", { textContent: title ?? id })]);
}

/** A list as a table, with why and terms; `extra`: further columns. `isNarrow`: there is little room, so why is below
 * the title. */
export function listTable(items, caption, extra = [], isNarrow = matchMedia("(max-width: 40rem)").matches) {
  const largest = Math.max(0, ...items.map(positiveSum));
  const why = (one) => element("bdi", { className: isNarrow ? "hint" : "", textContent: one.because ?? "" });
  const columns = [
    ["Place", (one) => String(one.rank), "number"],
    ["Item", (one) => element("span", {}, [itemLink(one.item_id, one.title), ...(isNarrow && one.because ? [element("br"), why(one)] : [])]), "plain"],
    ...extra,
    ...(isNarrow ? [] : [["Category", (one) => element("bdi", { textContent: one.category ?? "" })], ["Why", why]]),
    ["Terms", (one) => terms(one, largest)],
  ];
  return table(columns, items, caption);
}

function terms(item, largest) {
  const made = element("details", { className: "terms" }, [
    element("summary", {}, [element("span", { className: "bar", role: "img" })]),
    element("ul"),
  ]);
  made.dataset.part = "terms";
  made.querySelector("span").dataset.part = "bar";
  made.querySelector("ul").dataset.part = "numbers";
  fillTerms(element("div", {}, [made]), item, largest);
  return made;
}

// -- numbers -------------------------------------------------------------------------------------------------------------------

export function number(value, digits = Math.abs(value) < 1 ? 2 : 1) {
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toLocaleString("en", { maximumFractionDigits: digits });
}

export function duration(seconds) {
  if (seconds === null) return "–";
  if (seconds < 1) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 90) return `${seconds < 10 ? number(seconds) : Math.round(seconds)} s`;
  return seconds < 5400 ? `${number(seconds / 60)} min` : seconds < 129_600 ? `${number(seconds / 3600)} h` : `${number(seconds / 86_400)} days`;
}

/** How long ago a time (RFC 3339) is. */
export function ago(text) {
  return text ? `${duration(Math.max(0, (Date.now() - Date.parse(text)) / 1000))} ago` : "never";
}
