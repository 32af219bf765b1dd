/** A list as tiles that move to their new places (FLIP: first, last, invert, play). */

import { element, pageAddress, part } from "./elements.js";
import { fillTerms, positiveSum } from "./terms.js";

const MOVE = { duration: 520, easing: "cubic-bezier(.2, .8, .2, 1)" };
const APPEAR = { duration: 420, easing: "ease-out" };
const LEAVE = { duration: 300, easing: "ease-in", fill: "forwards" };
const BADGE_MS = 6000;

const movesFreely = () => !matchMedia("(prefers-reduced-motion: reduce)").matches;

export class Tiles {
  /** `list`: the element that holds them. `onAct(type, item)`: what a person does. */
  constructor(list, onAct) {
    this.list = list;
    this.onAct = onAct;
    this.tiles = new Map();
  }

  /** Show these items, each at its place, from where it was. `moves`: whether to say how places have changed. */
  show(items, moves = false) {
    const first = this.#places();
    const leader = this.list.firstElementChild?.dataset.item;
    const ranks = new Map([...this.tiles].map(([id, tile]) => [id, tile.rank]));
    const focused = this.#focusedPlace();
    const kept = new Set(items.map((item) => item.item_id));
    for (const [id, tile] of this.tiles) if (!kept.has(id)) this.#remove(id, tile, first.get(id));
    const largest = Math.max(0, ...items.map(positiveSum));
    items.forEach((item, index) => {
      const tile = this.tiles.get(item.item_id) ?? this.#add(item);
      if (this.list.children[index] !== tile.element) this.list.insertBefore(tile.element, this.list.children[index] ?? null);
      fill(tile, item, index + 1, largest);
      if (moves) mark(tile, ranks.get(item.item_id), index + 1);
    });
    if (items[0]?.item_id !== leader) this.list.scrollLeft = 0;
    this.#play(first);
    this.#restoreFocus(focused);
  }

  /** Say that a tile's click is on its way. */
  setBusy(itemId, busy) {
    this.tiles.get(itemId)?.element.toggleAttribute("data-busy", busy);
  }

  #places() {
    return new Map([...this.tiles].map(([id, tile]) => [id, tile.element.getBoundingClientRect()]));
  }

  #add(item) {
    const made = document.getElementById("tile").content.cloneNode(true).firstElementChild;
    const tile = { element: made, item, rank: null };
    made.dataset.item = item.item_id;
    made.addEventListener("click", (event) => {
      const type = event.target.closest("[data-act]")?.dataset.act;
      if (type) this.onAct(type, tile.item);
    });
    this.tiles.set(item.item_id, tile);
    return tile;
  }

  #remove(id, tile, place) {
    this.tiles.delete(id);
    tile.element.remove();
    if (!movesFreely() || !place?.width) return;
    const ghost = element("li", { className: "ghost", inert: true }, [...tile.element.cloneNode(true).childNodes]);
    const frame = this.list.parentElement.getBoundingClientRect();
    ghost.classList.add("tile");
    ghost.setAttribute("aria-hidden", "true");
    Object.assign(ghost.style, {
      left: `${place.left - frame.left}px`,
      top: `${place.top - frame.top}px`,
      width: `${place.width}px`,
      height: `${place.height}px`,
    });
    this.list.parentElement.append(ghost);
    ghost.animate([{ opacity: 1 }, { opacity: 0, transform: "scale(.86)" }], LEAVE).finished.finally(() => ghost.remove());
  }

  #play(first) {
    if (!movesFreely()) return;
    for (const [id, { element: shown }] of this.tiles) {
      const from = first.get(id);
      const to = shown.getBoundingClientRect();
      if (!from) {
        shown.animate([{ opacity: 0, transform: "scale(.8)" }, { opacity: 1, transform: "none" }], APPEAR);
      } else if (from.left !== to.left || from.top !== to.top) {
        const back = `translate(${from.left - to.left}px, ${from.top - to.top}px)`;
        shown.animate([{ transform: back, zIndex: 1 }, { transform: "none", zIndex: 1 }], MOVE);
      }
    }
  }

  // -- who goes by keyboard stays at their place, though the tile there is another ------------------------------------

  #focusedPlace() {
    const focused = document.activeElement?.closest(".tile");
    if (!focused || focused.parentElement !== this.list) return null;
    return { index: [...this.list.children].indexOf(focused), id: focused.dataset.item, act: document.activeElement.dataset.act };
  }

  #restoreFocus(place) {
    if (place === null || !this.list.children.length) return;
    const tile = this.tiles.get(place.id)?.element ?? this.list.children[Math.min(place.index, this.list.children.length - 1)];
    (tile.querySelector(`[data-act="${place.act ?? "click"}"]`) ?? part(tile, "open")).focus({ preventScroll: true });
  }
}

function fill(tile, item, rank, largest) {
  const { element: shown } = tile;
  Object.assign(tile, { item, rank });
  Object.assign(shown.dataset, { eddylineItem: item.item_id, eddylinePosition: rank });
  part(shown, "rank").textContent = rank;
  part(shown, "title").textContent = item.title ?? item.item_id;
  part(shown, "category").textContent = item.category ?? "";
  part(shown, "because").textContent = item.because ?? "";
  for (const button of shown.querySelectorAll("[data-act]")) {
    button.setAttribute("aria-label", `${button.dataset.says}: ${item.title ?? item.item_id}`);
  }
  const link = pageAddress(item.url);
  part(shown, "link").hidden = link === null;
  if (link) part(shown, "link").href = link;
  shown.style.setProperty("--hue", hueOf(item.category ?? ""));
  fillTerms(shown, item, largest);
}

function mark(tile, before, now) {
  const badge = part(tile.element, "badge");
  const up = before === null || before === undefined ? null : before - now;
  badge.textContent = up === null ? "new" : up > 0 ? `▲ ${up}` : up < 0 ? `▼ ${-up}` : "";
  badge.dataset.move = up === null ? "new" : Math.sign(up);
  clearTimeout(tile.badgeTimer);
  tile.badgeTimer = setTimeout(() => (badge.textContent = ""), BADGE_MS);
}

function hueOf(text) {
  let hash = 7;
  for (const character of text) hash = (hash * 31 + character.codePointAt(0)) % 360;
  return hash;
}
