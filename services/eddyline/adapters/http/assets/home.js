/** The welcome page: whether all is well, and the commands with this server's address. */

import { element } from "./elements.js";

const REFRESH_MS = 5000;
const byId = (id) => document.getElementById(id);

/** Ask /readyz: {ready, checks?}. `checks` are missing where there are keys, since it tells them to operators alone. */
async function readiness() {
  try {
    const response = await fetch("/readyz", { signal: AbortSignal.timeout(REFRESH_MS) });
    const { checks } = await response.json();
    return { ready: response.ok, checks };
  } catch {
    return { ready: false, silent: true };
  }
}

function show({ ready, checks, silent }) {
  const state = silent ? "Eddyline doesn't answer" : ready ? "All is well" : "Not ready";
  if (byId("state").textContent !== state) byId("state").textContent = state;
  byId("lamp").dataset.state = ready ? "well" : "ill";
  byId("checks").replaceChildren(
    ...Object.entries(checks ?? {}).map(([name, said]) =>
      element("li", { className: said === "ok" ? "well" : "ill" }, [
        element("strong", { textContent: name }),
        element("span", { textContent: said }),
      ]),
    ),
  );
  byId("state-hint").hidden = ready;
  byId("state-hint").textContent = silent
    ? "Has it been stopped? This page asks again every five seconds."
    : "What isn't ready is named above (or in /readyz, for who may operate). This page asks again every five seconds.";
  byId("keys-hint").hidden = silent || checks !== undefined;
}

function prepareCommands() {
  for (const code of document.querySelectorAll(".command code")) {
    code.textContent = code.textContent.replace("{origin}", location.origin);
    const copy = element("button", { type: "button", textContent: "Copy" });
    copy.setAttribute("aria-label", `Copy: ${code.textContent}`);
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(code.textContent);
      copy.textContent = "Copied";
    });
    if (navigator.clipboard) code.closest(".command").append(copy);
  }
}

async function keepAsking() {
  if (document.visibilityState === "visible") show(await readiness());
  setTimeout(keepAsking, REFRESH_MS);
}

prepareCommands();
keepAsking();
