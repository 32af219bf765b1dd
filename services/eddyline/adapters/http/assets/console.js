/** The console: one page at a time, by the part of the address after #. */

import { askForKey, Problem } from "./api.js";
import { element } from "./elements.js";
import * as catalogue from "./console_catalogue.js";
import * as deadLetters from "./console_dead_letters.js";
import * as experiments from "./console_experiments.js";
import * as item from "./console_item.js";
import * as lists from "./console_lists.js";
import * as live from "./console_live.js";
import * as overview from "./console_overview.js";
import * as person from "./console_person.js";
import * as quality from "./console_quality.js";

const PAGES = { overview, live, person, item, lists, experiments, quality, "dead-letters": deadLetters, catalogue };
const AGAIN_MS = 3000;
const byId = (id) => document.getElementById(id);
let leaving = new AbortController();
let again = null;

function say(text) {
  if (byId("alert").textContent !== text) byId("alert").textContent = text;
  byId("alert").hidden = text === "";
}

/** Run what calls the API for the page that is open. Says what goes wrong; what may pass is tried again. */
async function guard(work, signal) {
  clearTimeout(again);
  try {
    await work();
    if (!signal.aborted) say("");
  } catch (problem) {
    if (signal.aborted) return;
    if (!(problem instanceof Problem)) throw problem;
    if (problem.status === 401) return askForKey(byId("key"), () => guard(work, signal), say);
    say(problem.isPassing ? `Eddyline can't answer now: ${problem.message}. Trying again …` : problem.message);
    if (problem.isPassing) again = setTimeout(() => guard(work, signal), AGAIN_MS);
  }
}

/** Ask whether to do something that can't be undone. */
async function confirm(title, text, yes) {
  const dialog = byId("confirm");
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  byId("confirm-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  return dialog.returnValue === "yes";
}

function open() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  clearTimeout(again);
  say("");
  const [name, ...parts] = location.hash.replace(/^#\/?/, "").split("/");
  const page = PAGES[name] ?? overview;
  for (const link of document.querySelectorAll(".tabs a")) {
    const isOpen = link.hash === `#/${PAGES[name] ? name : "overview"}`;
    if (isOpen) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    if (isOpen) link.scrollIntoView({ block: "nearest", inline: "center" });
  }
  document.title = `${page.TITLE} · Console · Eddyline`;
  const view = byId("view");
  view.replaceChildren(element("h2", { className: "hidden", textContent: page.TITLE }));
  const context = { signal, confirm, say, guard: (work) => guard(work, signal) };
  page.show(view, parts.map(decodeURIComponent), context);
}

byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("view").focus();
});
addEventListener("hashchange", open);
open();
