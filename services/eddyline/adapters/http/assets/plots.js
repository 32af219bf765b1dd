/** Plots, drawn as SVG. Each says in its label what it shows. */

import { element } from "./elements.js";
import { hint, number } from "./views.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 400;
const HEIGHT = 110;
const ROOM = HEIGHT - 4;
const COLOURS = 8;
const NAMED = 5; // bars that each have their name

function svg(tag, attributes, children = []) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function titled(shape, text) {
  const title = svg("title", {});
  title.textContent = text;
  shape.append(title);
  return shape;
}

function frame(label, children, ...captions) {
  const plot = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "plot", role: "img", "aria-label": label, preserveAspectRatio: "none" }, [
    svg("line", { x1: 0, y1: HEIGHT, x2: WIDTH, y2: HEIGHT, class: "axis" }), ...children,
  ]);
  return element("div", {}, [plot, element("p", { className: "plot-caption" }, captions.map((textContent) => element("span", { textContent })))]);
}

/** A line of [time, value] pairs, value null where there is none. */
export function linePlot(name, points, show) {
  const known = points.filter(([, value]) => value !== null);
  if (known.length < 2) return hint(`${name}: it takes a moment until there is something to plot`);
  const [first, last] = [known[0][0], known.at(-1)[0]];
  const most = Math.max(...known.map(([, value]) => value)) || 1;
  const line = known.map(([time, value]) => `${((time - first) / (last - first || 1)) * WIDTH},${HEIGHT - (value / most) * ROOM}`).join(" ");
  const area = svg("polygon", { points: `0,${HEIGHT} ${line} ${WIDTH},${HEIGHT}`, class: "area" });
  const label = `${name}: now ${show(known.at(-1)[1])}, at most ${show(most)}`;
  const minutes = Math.round((last - first) / 60);
  return frame(label, [area, svg("polyline", { points: line, class: "line" })], minutes ? `${minutes} min ago` : "a moment ago", `at most ${show(most)}`);
}

/** Bars of [label, value] pairs. */
export function barPlot(name, bars, show = String) {
  const most = Math.max(...bars.map(([, value]) => value));
  if (!(most > 0)) return hint(`${name}: nothing yet`);
  const width = WIDTH / bars.length;
  const drawn = bars.map(([label, value], place) => {
    const height = (value / most) * ROOM;
    return titled(svg("rect", { x: place * width + 1, y: HEIGHT - height, width: width - 2, height, class: "column" }), `${label}: ${show(value)}`);
  });
  const made = frame(`${name}: ${bars.map(([label, value]) => `${label}: ${show(value)}`).join(", ")}`, drawn, ...(bars.length <= NAMED ? bars.map(([label]) => label) : [bars[0][0], bars.at(-1)[0]]));
  made.lastChild.classList.toggle("even", bars.length <= NAMED);
  return made;
}

/** Several lines over one axis from `from` to `to`. `lines`: {label, points}, a point being [x, y] within 0 … 1, y null
 * where there is none; `stems`: {label, x, y}, drawn from the axis up. */
export function linesPlot(name, lines, stems, from, to) {
  const at = (x, y) => `${x * WIDTH},${HEIGHT - y * ROOM}`;
  const drawn = lines.map(({ label, points }, place) => {
    const known = points.filter(([, y]) => y !== null).map(([x, y]) => at(x, y));
    return titled(svg("polyline", { points: known.join(" "), class: "line", "data-colour": place % COLOURS }), label);
  });
  const upright = stems.map(({ label, x, y }) => titled(svg("line", { x1: x * WIDTH, x2: x * WIDTH, y1: HEIGHT, y2: HEIGHT - y * ROOM, class: "stem" }), label));
  const label = `${name}: ${[...lines, ...stems].map((one) => one.label).slice(0, 12).join(", ")}`;
  return element("div", {}, [frame(label, [...upright, ...drawn], from, to), legendOf(lines)]);
}

/** How values with bounds have gone: bands around lines, and a line where there is no difference. `bands`: {label, points},
 * a point being {x, low, value, high}, x within 0 … 1, null where it isn't known. */
export function bandsPlot(name, bands, show, from, to) {
  const known = bands.flatMap(({ points }) => points.flatMap(({ low, value, high }) => [low, value, high])).filter((one) => one !== null);
  if (!known.length) return hint(`${name}: no bounds yet`);
  const [least, most] = [Math.min(0, ...known), Math.max(0, ...known)];
  const at = (x, y) => `${x * WIDTH},${HEIGHT - ((y - least) / (most - least || 1)) * ROOM}`;
  const drawn = bands.flatMap(({ label, points }, place) => {
    const bounded = points.filter(({ low, high }) => low !== null && high !== null);
    const outline = [...bounded.map(({ x, low }) => at(x, low)), ...bounded.toReversed().map(({ x, high }) => at(x, high))];
    const line = points.filter(({ value }) => value !== null).map(({ x, value }) => at(x, value));
    return [
      titled(svg("polygon", { points: outline.join(" "), class: "band", "data-colour": place % COLOURS }), label),
      titled(svg("polyline", { points: line.join(" "), class: "line", "data-colour": place % COLOURS }), label),
    ];
  });
  const none = svg("polyline", { points: `${at(0, 0)} ${at(1, 0)}`, class: "none" });
  const label = `${name}, from ${show(least)} to ${show(most)}: ${bands.map((one) => one.label).join(", ")}`;
  return element("div", {}, [frame(label, [none, ...drawn], from, `${show(least)} … ${show(most)}`, to), legendOf(bands)]);
}

function legendOf(lines) {
  const entries = lines.map(({ label }, place) => {
    const entry = element("li", { textContent: label });
    entry.dataset.colour = place % COLOURS;
    return entry;
  });
  return element("ul", { className: "plot-legend" }, entries);
}

/** Values with their bounds, a row each: {label, value, low, high}, over one axis from 0 on. */
export function intervalPlot(name, rows) {
  const most = Math.max(...rows.map(({ value, high }) => high ?? value ?? 0)) || 1;
  const lines = rows.map(({ label, value, low, high }) => {
    const place = (one) => `${Math.max(0, Math.min(100, (100 * one) / most))}%`;
    const track = element("span", { className: "interval", ariaHidden: "true" });
    if (low !== null && high !== null) {
      const bounds = element("span", { className: "bounds" });
      Object.assign(bounds.style, { left: place(low), right: `calc(100% - ${place(high)})` });
      track.append(bounds);
    }
    if (value !== null) {
      const point = element("span", { className: "point" });
      point.style.left = place(value);
      track.append(point);
    }
    const figures = value === null ? "–" : low === null || high === null ? number(value, 3) : `${number(value, 3)} (${number(low, 3)} … ${number(high, 3)})`;
    return element("li", {}, [element("bdi", { textContent: label }), track, element("span", { textContent: figures })]);
  });
  const list = element("ul", { className: "intervals" }, lines);
  list.setAttribute("aria-label", name);
  return list;
}
