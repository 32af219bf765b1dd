/** The strip that shows the way of each click, with its milliseconds. */

import { element } from "./elements.js";

const KEPT = 4;
const SAID = { click: "Opened", like: "Liked", purchase: "Bought", hide: "Hid" };

/** Show the way of an event: `accepted` and `visible` in milliseconds since it was sent; `visible` null: not within the limit. */
export function showJourney({ type, item, accepted, visible, who }) {
  const total = visible ?? accepted;
  const way = element("span", { className: "way-bar" }, [leg("taken-in", accepted / total), leg("to-the-list", (total - accepted) / total)]);
  way.setAttribute("aria-hidden", "true");
  add([
    element("strong", { className: "what" }, [`${SAID[type] ?? type} `, element("bdi", { textContent: item.title ?? item.item_id })]),
    element("span", { className: "who", textContent: who }),
    way,
    element("span", { className: "figure", textContent: `accepted ${format(accepted)}` }),
    element("span", {
      className: "figure final",
      textContent: visible === null ? "the list stays as it was" : `in the list ${format(visible)}`,
    }),
  ]);
}

/** Show a way with a single figure. */
export function showEvent(text, milliseconds = null) {
  add([
    element("strong", { className: "what whole", textContent: text }),
    ...(milliseconds === null ? [] : [element("span", { className: "figure final", textContent: format(milliseconds) })]),
  ]);
}

function add(parts) {
  const list = document.getElementById("journeys");
  list.querySelector(".hint")?.remove();
  list.prepend(element("li", {}, parts));
  while (list.children.length > KEPT) list.lastElementChild.remove();
}

function leg(name, share) {
  const made = element("span", { className: name });
  made.style.flexGrow = Math.max(0.04, share);
  return made;
}

function format(milliseconds) {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}
