/** The playground: one person's shop or two, what the lists are asked with, and an item to publish. */

import { address, askForKey, call, Problem } from "./api.js";
import { element } from "./elements.js";
import { showEvent } from "./journeys.js";
import { Panel } from "./panel.js";
import { eventually, interests, orNothing } from "./shopper.js";

const AGAIN_MS = 3000;
const SLIDER_MS = 200;
const FIRST = 100;
const byId = (id) => document.getElementById(id);
const panels = [];
const touched = new Set();

// -- what may go wrong is said, and what may pass is tried again ----------------------------------------------------------

let again = null;

function say(text) {
  byId("alert").hidden = text === "";
  byId("alert").textContent = text;
}

/** Run what calls the API. Says what went wrong; asks for a key where one is needed. */
async function guard(work) {
  clearTimeout(again);
  try {
    await work();
    say("");
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.status === 401) {
      const use = () => guard(async () => Promise.all([work(), offerStrategies()]));
      return askForKey(byId("key"), use, say);
    }
    say(problem.isPassing ? `Eddyline can't answer now: ${problem.message}. Trying again …` : problem.message);
    if (problem.isPassing) again = setTimeout(() => guard(refreshAll), AGAIN_MS);
  }
}

async function refreshAll() {
  await Promise.all(panels.map((panel) => (panel.shopper === null ? panel.becomeSomeone() : panel.refresh())));
}

// -- what lists are asked with ----------------------------------------------------------------------------------------------

/** Return what the sliders say, as a request takes it: what nobody has touched is left to the settings. */
function options() {
  const { strategy, diversity, explore, hour, device } = byId("options").elements;
  const said = { context: {} };
  if (strategy.value) said.strategy = strategy.value;
  if (touched.has("diversity")) said.diversity = Number(diversity.value);
  if (touched.has("explore")) said.explore = Number(explore.value);
  if (touched.has("hour")) said.context.timezone = zoneWhereItIs(Number(hour.value));
  if (device.value) said.context.device = device.value;
  return said;
}

/** Return a time zone in which it is this hour now: rules go by the person's clock. */
function zoneWhereItIs(hour) {
  const ahead = ((hour - new Date().getUTCHours() + 36) % 24) - 12;
  return ahead === 0 ? "Etc/GMT" : `Etc/GMT${ahead > 0 ? "-" : "+"}${Math.abs(ahead)}`;
}

function prepareOptions() {
  const form = byId("options");
  let timer = null;
  const refreshSoon = () => {
    clearTimeout(timer);
    timer = setTimeout(() => guard(refreshAll), SLIDER_MS);
  };
  form.addEventListener("input", ({ target }) => {
    touched.add(target.name);
    const output = form.querySelector(`[data-part="${target.name}"]`);
    if (output) output.textContent = target.name === "hour" ? `${target.value}:00` : Number(target.value).toFixed(2);
    refreshSoon();
  });
  form.addEventListener("reset", () => {
    touched.clear();
    for (const output of form.querySelectorAll("output")) output.textContent = output.dataset.part === "hour" ? "now" : "as set";
    refreshSoon();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
}

/** Offer the strategies by name, to who may know them. */
async function offerStrategies() {
  const { usual, strategies } = await call("GET", address(["strategies"])).catch(() => ({ strategies: [] }));
  const select = byId("options").elements.strategy;
  const first = element("option", { value: "", textContent: usual ? `the usual one (${usual})` : "the usual one" });
  select.replaceChildren(first, ...strategies.map(({ name }) => element("option", { value: name, textContent: name })));
}

// -- an item to publish ---------------------------------------------------------------------------------------------------------

function preparePublish() {
  const form = byId("publish");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    guard(() => publish(form));
  });
}

async function publish(form) {
  const { title, description, category, tags } = Object.fromEntries(new FormData(form));
  const named = tags.split(",").map((tag) => tag.trim()).filter(Boolean);
  const item = { title, tags: named, ...(description && { description }), ...(category && { category }) };
  const itemId = `playground-${crypto.randomUUID().slice(0, 8)}`;
  const started = performance.now();
  await call("PUT", address(["items", itemId]), item);
  const { found, milliseconds } = await eventually(
    () => orNothing(call("GET", address(["items", itemId, "similar"], { limit: 3 }))),
    started,
  );
  if (!found) throw new Problem(503, "the item was taken in, and isn't there yet: is the embedder running?");
  showEvent(`Published “${title}”: found after`, milliseconds);
  form.reset();
  await showPublished(itemId, title, found.items);
  await Promise.all(panels.map((panel) => eventually(async () => (await panel.refreshLatest()).items.some((one) => one.item_id === itemId))));
  await refreshAll();
}

async function showPublished(itemId, title, neighbours) {
  const lines = [`Next to ${neighbours.map((one) => one.title).join(", ") || "nothing yet"}.`];
  for (const { shopper } of panels) {
    const { items } = await shopper.recommend(options(), true, FIRST);
    const place = items.find((one) => one.item_id === itemId)?.rank;
    lines.push(`For ${shopper.userId ?? "the anonymous visitor"}: ${place ? `number ${place}` : `not among the first ${FIRST}`}.`);
  }
  const withdraw = element("button", { type: "button", textContent: "Withdraw it" });
  withdraw.addEventListener("click", () => guard(async () => {
    await call("DELETE", address(["items", itemId]));
    await eventually(async () => (await orNothing(call("GET", address(["items", itemId])))) === null);
    byId("published").replaceChildren();
    await refreshAll();
  }));
  byId("published").replaceChildren(
    element("p", {}, [element("strong", { textContent: title }), " is there."]),
    ...lines.map((line) => element("p", { textContent: line })),
    withdraw,
  );
}

// -- a newcomer --------------------------------------------------------------------------------------------------------------------

/** Ask what a newcomer is interested in; null: they have changed their mind. */
async function welcome() {
  const known = await interests();
  const chips = known.map((name) => {
    const chip = element("button", { type: "button", className: "chip", textContent: name });
    chip.setAttribute("aria-pressed", "false");
    chip.addEventListener("click", () => chip.setAttribute("aria-pressed", chip.getAttribute("aria-pressed") === "false"));
    return chip;
  });
  byId("interests").replaceChildren(...chips);
  const dialog = byId("newcomer");
  const { words } = dialog.querySelector("form").elements;
  words.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue === "anonymous") return [];
  if (dialog.returnValue !== "start") return null;
  const picked = chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").map((chip) => chip.textContent);
  return [...picked, words.value.trim()].filter(Boolean);
}

// -- one person, or two ----------------------------------------------------------------------------------------------------------------

function addPanel() {
  const panel = new Panel({ options, guard, welcome });
  panels.push(panel);
  byId("people").append(panel.element);
  byId("people").dataset.count = panels.length;
  return panel;
}

function prepareSecond() {
  const button = byId("second");
  button.addEventListener("click", () => {
    const isOn = panels.length === 2;
    button.setAttribute("aria-pressed", String(!isOn));
    if (isOn) {
      const panel = panels.pop();
      panel.shopper?.tracker.stop();
      panel.element.remove();
      byId("people").dataset.count = panels.length;
    } else {
      guard(() => addPanel().becomeSomeone());
    }
  });
}

async function start() {
  const user = new URLSearchParams(location.search).get("user");
  const panel = addPanel();
  await guard(() => (user ? panel.become(user) : panel.becomeSomeone()));
  await offerStrategies();
  const names = await interests().catch(() => []);
  byId("categories").replaceChildren(...names.map((name) => element("option", { value: name })));
}

prepareOptions();
preparePublish();
prepareSecond();
start();
