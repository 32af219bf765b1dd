/** What the pages of the console are made of. */

import { element } from "./elements.js";
import { fillTerms, positiveSum } from "./terms.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 400;
const HEIGHT = 110;

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

/** Links to the pages of a person and an item. */
export function personLink(kind, id, text = id) {
  return element("a", { href: `#/person/${kind}/${encodeURIComponent(id)}` }, [element("bdi", { textContent: text })]);
}

export function itemLink(id, title) {
  return element("a", { href: `#/item/${encodeURIComponent(id)}` }, [element("bdi", { textContent: title ?? id })]);
}

/** A list as a table, with why and terms; `extra`: further columns; `leftOut`: headings of those that aren't shown. */
export function listTable(items, caption, extra = [], leftOut = []) {
  const largest = Math.max(0, ...items.map(positiveSum));
  const columns = [
    ["Place", (one) => String(one.rank), "number"],
    ["Item", (one) => itemLink(one.item_id, one.title), "plain"],
    ...extra,
    ["Category", (one) => element("bdi", { textContent: one.category ?? "" })],
    ["Why", (one) => element("bdi", { textContent: one.because ?? "" })],
    ["Terms", (one) => terms(one, largest)],
  ].filter(([name]) => !leftOut.includes(name));
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

// -- plots ------------------------------------------------------------------------------------------------------------------

function svg(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function frame(label, children, from, to) {
  const plot = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "plot", role: "img", "aria-label": label, preserveAspectRatio: "none" });
  plot.append(svg("line", { x1: 0, y1: HEIGHT, x2: WIDTH, y2: HEIGHT, class: "axis" }), ...children);
  const caption = element("p", { className: "plot-caption" }, [element("span", { textContent: from }), element("span", { textContent: to })]);
  return element("div", {}, [plot, caption]);
}

/** A line of [time, value] pairs, value null where there is none. */
export function linePlot(name, points, show) {
  const known = points.filter(([, value]) => value !== null);
  if (known.length < 2) return hint(`${name}: it takes a moment until there is something to plot`);
  const [first, last] = [known[0][0], known.at(-1)[0]];
  const most = Math.max(...known.map(([, value]) => value)) || 1;
  const at = ([time, value]) => `${((time - first) / (last - first || 1)) * WIDTH},${HEIGHT - (value / most) * (HEIGHT - 4)}`;
  const line = known.map(at).join(" ");
  const area = svg("polygon", { points: `0,${HEIGHT} ${line} ${WIDTH},${HEIGHT}`, class: "area" });
  const label = `${name}: now ${show(known.at(-1)[1])}, at most ${show(most)}`;
  const minutes = Math.round((last - first) / 60);
  return frame(label, [area, svg("polyline", { points: line, class: "line" })], minutes ? `${minutes} min ago` : "a moment ago", `at most ${show(most)}`);
}

/** Bars of [label, value] pairs. */
export function barPlot(name, bars) {
  const most = Math.max(...bars.map(([, value]) => value));
  if (!(most > 0)) return hint(`${name}: nothing yet`);
  const width = WIDTH / bars.length;
  const drawn = bars.map(([label, value], place) => {
    const height = (value / most) * (HEIGHT - 4);
    const bar = svg("rect", { x: place * width + 1, y: HEIGHT - height, width: width - 2, height, class: "column" });
    const title = svg("title", {});
    title.textContent = `${label}: ${value}`;
    bar.append(title);
    return bar;
  });
  return frame(`${name}: ${bars.map(([label, value]) => `${label}: ${value}`).join(", ")}`, drawn, bars[0][0], bars.at(-1)[0]);
}

// -- numbers -------------------------------------------------------------------------------------------------------------------

export function number(value) {
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toLocaleString("en", { maximumFractionDigits: value < 1 ? 2 : 1 });
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
