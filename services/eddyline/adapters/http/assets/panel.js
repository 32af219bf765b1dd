/** One person's shop: who they are, and the four rows. */

import { address, call } from "./api.js";
import { part } from "./elements.js";
import { showEvent, showJourney } from "./journeys.js";
import { eventually, LIST_LENGTH, Shopper, someone } from "./shopper.js";
import { Tiles } from "./tiles.js";

export class Panel {
  /** `options()`: what the sliders say; `guard(work)`: runs what calls the API, and shows what goes wrong;
   * `welcome()`: asks a newcomer for interests, null where they'd rather not come. */
  constructor({ options, guard, welcome }) {
    Object.assign(this, { options, guard, welcome });
    this.element = document.getElementById("panel").content.cloneNode(true).firstElementChild;
    this.shopper = null;
    this.list = null;
    this.turn = 0;
    const onAct = (type, item) => this.guard(() => this.#act(type, item));
    this.tiles = {
      foryou: new Tiles(part(this.element, "foryou"), onAct),
      because: new Tiles(part(this.element, "because-list"), onAct),
      trending: new Tiles(part(this.element, "trending"), onAct),
      latest: new Tiles(part(this.element, "latest"), onAct),
    };
    this.#listen();
  }

  // -- who it is ------------------------------------------------------------------------------------------------------

  /** Show this person; null: someone anonymous, under an id of their own, since a former one may lead to a user by now. */
  become(user) {
    return this.#show(this.#enter(user));
  }

  #enter(user) {
    this.shopper?.tracker.stop();
    return new Shopper(user, this.element);
  }

  async #show(shopper) {
    this.shopper = shopper;
    this.list = null;
    this.#showName();
    await this.refresh();
  }

  /** Show someone at random, or, where nobody has done anything yet, or their list is refused, an anonymous visitor. */
  async becomeSomeone() {
    const user = await someone();
    try {
      await this.become(user);
    } catch (problem) {
      if (problem.status === 403 && user !== null) await this.become(null);
      throw problem;
    }
  }

  async #newcomer() {
    const interests = await this.welcome();
    if (interests === null) return;
    if (interests.length === 0) return this.become(null);
    const shopper = this.#enter(`visitor-${crypto.randomUUID().slice(0, 8)}`);
    const { found, milliseconds } = await shopper.answer(interests);
    if (found) showEvent(`${shopper.userId} likes ${interests.join(", ")}: known after`, milliseconds);
    await this.#show(shopper);
  }

  async #choose(user) {
    if (!this.shopper.isAnonymous) return this.become(user);
    const started = performance.now();
    const chosen = this.shopper.opened.find((item) => !item.hidden);
    await this.shopper.signIn(user);
    if (chosen) {
      const isTheirs = async () => (await this.shopper.summary())?.recents.includes(chosen.item_id);
      const { found, milliseconds } = await eventually(isTheirs, started);
      showEvent(`Signed in as ${user}: what was done anonymously is theirs`, found ? milliseconds : null);
    }
    await this.#show(this.shopper);
  }

  async #forget() {
    const who = this.shopper.userId ?? "The anonymous visitor";
    const { found, milliseconds } = await this.shopper.forget();
    showEvent(found ? `${who} is forgotten` : `${who} is being forgotten`, milliseconds);
    await this.become(null);
  }

  #showName() {
    const { isAnonymous, userId } = this.shopper;
    part(this.element, "name").textContent = isAnonymous ? "An anonymous visitor" : `Person ${userId}`;
    part(this.element, "go").textContent = isAnonymous ? "Sign in" : "Go";
    part(this.element, "leave").hidden = isAnonymous;
  }

  async #showKnown() {
    const { isAnonymous, opened } = this.shopper;
    const known = part(this.element, "known");
    if (isAnonymous) {
      known.textContent = opened.length ? `${counted(opened.length, "item")} met here, without a name` : "nothing is known yet";
      return;
    }
    const summary = await this.shopper.summary();
    known.textContent = summary === null ? "nothing is known yet" : describe(summary);
  }

  // -- the rows ---------------------------------------------------------------------------------------------------------

  /** Ask for all rows anew. */
  async refresh() {
    const turn = ++this.turn;
    const list = this.shopper.recommend(this.options()).then((found) => turn === this.turn && this.#showList(found));
    await Promise.all([list, this.#showKnown(), this.#showBecause(), this.#showTrending(), this.refreshLatest()]);
  }

  /** Ask for the new items. */
  async refreshLatest() {
    const found = await call("GET", address(["latest"], { limit: LIST_LENGTH }));
    this.#fill("latest", found, true);
    return found;
  }

  async #showTrending() {
    let found = await call("GET", address(["trending"], { window: "day", limit: LIST_LENGTH }));
    if (!found.items.length) found = await call("GET", address(["trending"], { window: "week", limit: LIST_LENGTH }));
    this.#fill("trending", found);
  }

  async #showBecause() {
    const chosen = await this.shopper.lastChosen();
    const found = chosen === null ? { items: [] } : await this.shopper.goesWith(chosen);
    part(this.element, "because-shelf").hidden = found.items.length === 0;
    const title = `Because you opened ${chosen?.title}`;
    part(this.element, "because-title").textContent = title;
    part(this.element, "because-list").setAttribute("aria-label", title);
    this.tiles.because.show(found.items);
  }

  #showList(list) {
    const moves = this.list !== null;
    this.tiles.foryou.show(list.items, moves);
    part(this.element, "foryou").dataset.eddylineRequest = list.request_id;
    this.list = list;
    const notes = [list.strategy, list.experiment && `${list.experiment}/${list.variant}`, list.cold_start && "nothing known yet"];
    if (list.degraded) notes.push("from a cache: the store doesn't answer");
    part(this.element, "about").textContent = notes.filter(Boolean).join(" · ");
    this.#sayEmpty("foryou", list);
  }

  #fill(row, found, moves = false) {
    this.tiles[row].show(found.items, moves && this.tiles[row].tiles.size > 0);
    this.#sayEmpty(row, found);
  }

  #sayEmpty(row, found) {
    const empty = part(this.element, `${row}-empty`);
    empty.hidden = found.items.length > 0;
    empty.textContent = found.reason ?? "";
  }

  // -- what they do -------------------------------------------------------------------------------------------------------

  async #act(type, item) {
    const turn = ++this.turn;
    const before = this.list ?? { items: [] };
    const started = performance.now();
    for (const row of Object.values(this.tiles)) row.setBusy(item.item_id, true);
    try {
      const isListed = before.items.some((one) => one.item_id === item.item_id);
      const accepted = await this.shopper.act(type, item, isListed ? before.request_id : undefined);
      const { found, milliseconds } = await this.shopper.awaitMove(before, item, this.options(), started);
      const who = part(this.element, "name").textContent;
      if (found && turn === this.turn) this.#showList(found);
      showJourney({ type, item, accepted, visible: found && milliseconds, who });
    } finally {
      for (const row of Object.values(this.tiles)) row.setBusy(item.item_id, false);
    }
    if (turn === this.turn) await Promise.all([this.#showKnown(), this.#showBecause(), this.#showTrending()]);
  }

  #listen() {
    const form = part(this.element, "choose");
    const deeds = {
      random: () => this.becomeSomeone(),
      newcomer: () => this.#newcomer(),
      leave: () => this.become(null),
      forget: () => this.#forget(),
    };
    form.addEventListener("click", (event) => {
      const deed = deeds[event.target.dataset.do];
      if (deed) this.guard(deed);
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const user = form.elements.user.value.trim();
      form.reset();
      if (user) this.guard(() => this.#choose(user));
    });
  }
}

function describe({ events, recents, onboarded, waiting }) {
  const parts = [counted(events, "event"), counted(recents.length, "recent item")];
  if (onboarded) parts.push("interests known");
  if (waiting) parts.push(`${waiting} waiting for items`);
  return parts.join(" · ");
}

function counted(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}
