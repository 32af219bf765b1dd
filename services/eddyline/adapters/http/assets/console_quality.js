/** The last evaluation: how good the lists were on a log. */

import { address, call } from "./api.js";
import { element } from "./elements.js";
import { intervalPlot } from "./plots.js";
import { ago, facts, hint, number, panel, table } from "./views.js";

export const TITLE = "Quality";
const NAMES = { hr: "HR", ndcg: "nDCG", mrr: "MRR", coverage: "coverage", diversity: "diversity", divergence: "divergence", novelty: "novelty" };
const PLOTTED = ["hr", "ndcg"];

export function show(view, _parts, { guard, signal }) {
  guard(async () => {
    const found = await call("GET", address(["quality"], {}, "/console/api"));
    if (signal.aborted) return;
    view.append(...(found.rows.length ? describe(found, view) : [none(found)]));
  });
}

function none({ folder, fault }) {
  const command = element("pre", { tabIndex: 0 }, [element("code", { textContent: `eddyline evaluate my-log --output ${folder}` })]);
  return panel(fault ? "The last evaluation can't be read" : "No evaluation yet", [
    ...(fault ? [element("p", { className: "ill", textContent: fault })] : []),
    hint("How good the lists are on a log of yours. What this writes is shown here:"), command,
  ]);
}

function describe({ at, rows, run }) {
  const slices = [...new Set(rows.map(({ slice }) => slice))];
  const select = element("select", { name: "slice" }, slices.map((slice) => element("option", { value: slice, textContent: slice })));
  const place = element("div", { className: "view-part" });
  const draw = () => place.replaceChildren(...slicePanels(rows.filter(({ slice }) => slice === select.value)));
  select.addEventListener("input", draw);
  draw();
  const log = run.log ?? {};
  const about = facts([
    ["Written", ago(at)],
    ["Log", log.events === undefined ? null : `${number(log.events)} events of ${number(log.people)} people with ${number(log.items)} items`],
    ["Eddyline", run.eddyline === undefined ? null : String(run.eddyline)],
    ["Recommended for", run.share === undefined ? null : `the last ${number(100 * run.share)} % of it`],
  ]);
  return [panel("The last evaluation", [about, element("p", { className: "ask" }, [element("label", { className: "narrow" }, ["Requests", select])])]), place];
}

/** The plots of some requests, and all their metrics. */
function slicePanels(rows) {
  const strategies = [...new Set(rows.map(({ strategy }) => strategy))];
  const metrics = [...new Set(rows.map(({ metric }) => metric))];
  const by = new Map(rows.map((row) => [`${row.strategy} ${row.metric}`, row]));
  const of = (strategy, metric) => by.get(`${strategy} ${metric}`);
  const title = (metric) => `${NAMES[metric] ?? metric}@${rows[0].k}`;
  const plots = PLOTTED.filter((metric) => metrics.includes(metric)).map((metric) => panel(title(metric), [
    intervalPlot(title(metric), strategies.flatMap((label) => (of(label, metric) ? [{ label, ...of(label, metric) }] : []))),
  ], "h3"));
  const columns = [
    ["Strategy", (strategy) => element("bdi", { textContent: strategy }), "plain"],
    ...metrics.map((metric) => [title(metric), (strategy) => cell(of(strategy, metric)), "number"]),
  ];
  return [
    element("div", { className: "columns" }, plots),
    panel(`${number(rows[0].requests)} requests of ${number(rows[0].people)} people`, [table(columns, strategies, "All metrics of each strategy"), hint("Bounds are 95 % intervals over people. Bold: the difference from the first strategy is beyond chance.")]),
  ];
}

function cell(row) {
  if (!row || row.value === null) return "–";
  const isClear = row.difference_low > 0 || row.difference_high < 0;
  return element(isClear ? "strong" : "span", { textContent: number(row.value, 3), title: row.difference === null ? "" : `difference ${number(row.difference, 3)} (${number(row.difference_low ?? row.difference, 3)} … ${number(row.difference_high ?? row.difference, 3)})` });
}
