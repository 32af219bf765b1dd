/** Dead letters: by reason, opened, sent again, dropped. */

import { address, call } from "./api.js";
import { element } from "./elements.js";
import { ago, counted, facts, hint, number, panel, table } from "./views.js";

export const TITLE = "Dead letters";
const ROOT = "/console/api";

export function show(view, [topic, reason], context) {
  const shown = element("div", { className: "view-part" });
  view.append(shown);
  const refresh = () => context.guard(async () => {
    const found = await call("GET", address(["dead-letters"], { topic, reason }, ROOT));
    if (!context.signal.aborted) shown.replaceChildren(...describe(found, topic, reason, context, refresh));
  });
  refresh();
}

function describe(found, topic, reason, context, refresh) {
  if (!found.total && !found.unreadable) return [panel("No dead letters", [hint("Every record could be read and applied.")])];
  const link = (one) => element("a", { href: `#/dead-letters/${encodeURIComponent(one.topic)}/${encodeURIComponent(one.reason)}`, textContent: one.reason });
  const counts = table([["Reason", link, "plain"], ["Topic", (one) => one.topic], ["Letters", (one) => number(one.count), "number"]], found.counts, "Dead letters by reason");
  const which = reason ? `${reason}, of ${topic}` : "the newest";
  const all = reason ? [element("p", {}, [element("a", { href: "#/dead-letters", textContent: "all reasons" })])] : [];
  return [
    panel(counted(found.total, "dead letter"), [counts, ...(found.unreadable ? [hint(`${found.unreadable} more can't be read: eddyline dlq list`)] : []), ...all]),
    panel(`${found.letters.length} of them: ${which}`, letters(found.letters, context, refresh)),
  ];
}

function letters(list, context, refresh) {
  const chosen = new Set();
  const [again, drop] = ["Send again", "Drop"].map((name) => element("button", { type: "button", textContent: name, disabled: true }));
  drop.className = "grave";
  const count = () => counted(chosen.size, "dead letter");
  const boxes = list.map((letter) => {
    const box = element("input", { type: "checkbox", ariaLabel: `Choose ${letter.id}` });
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(letter.id);
      else chosen.delete(letter.id);
      again.disabled = drop.disabled = chosen.size === 0;
    });
    return box;
  });
  const every = element("button", { type: "button", textContent: "Choose all shown" });
  every.addEventListener("click", () => boxes.filter((box) => !box.checked).forEach((box) => box.click()));
  const run = async (path, question, text, yes, tell) => {
    if (!(await context.confirm(question, text, yes))) return;
    await context.guard(async () => {
      const answer = await call("POST", `${ROOT}/dead-letters/${path}`, { ids: [...chosen] });
      await refresh();
      context.say(tell(answer));
    });
  };
  again.addEventListener("click", () => run("replay", `Send ${count()} again?`, "What is accepted is removed here; what fails again comes back as a dead letter.", "Send again", ({ accepted, refused }) => `${accepted} sent again${refused.length ? `, ${refused.length} refused: ${refused[0][1]}` : ""}.`));
  drop.addEventListener("click", () => run("drop", `Drop ${count()}?`, "They are gone for good.", "Drop", ({ dropped }) => `${dropped} dropped.`));
  const columns = [
    ["Choose", (one) => boxes[list.indexOf(one)]],
    ["Letter", open, "plain"],
    ["Reason", (one) => one.reason],
    ["Given up", (one) => ago(one.at)],
  ];
  return [element("p", { className: "ask" }, [every, again, drop]), table(columns, list, "Dead letters, the newest first")];
}

function open(letter) {
  const body = element("div", {}, [
    facts([
      ["Why", element("bdi", { textContent: letter.detail || letter.reason })],
      ["Attempt", String(letter.attempt)], ["At", letter.at],
      ["Key", letter.key === null ? "shown with the scope people" : element("bdi", { textContent: letter.key })],
      ...letter.headers.map(([name, value]) => [name, element("bdi", { textContent: value ?? "" })]),
    ]),
    ...(letter.value === null ? [] : [element("pre", { tabIndex: 0 }, [element("code", { textContent: pretty(letter.value) })])]),
  ]);
  return element("details", {}, [element("summary", {}, [element("bdi", { textContent: letter.id })]), body]);
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
