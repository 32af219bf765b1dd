/** Experiments: what runs, what it says so far, and whether it can be trusted. */

import { address, call } from "./api.js";
import { element } from "./elements.js";
import { bandsPlot } from "./plots.js";
import { duration, facts, hint, number, panel, table } from "./views.js";

export const TITLE = "Experiments";

export function show(view, _parts, { guard, signal }) {
  guard(async () => {
    const found = await call("GET", address(["insights", "experiments"])).catch((problem) => {
      if (![404, 501].includes(problem.status)) throw problem;
      return null; // measured by another process, or not at all
    });
    if (signal.aborted) return;
    if (found === null) {
      view.append(panel("Nothing is measured here", [hint("This process has no insights: open the console of one with the role insights, or install eddyline[insights] and set insights.enabled.")]));
      return;
    }
    const { experiments, as_of: asOf } = found;
    if (!experiments.length) {
      view.append(panel("No experiments", [hint("None is defined, and no list named one. docs/experiments.md says how to define one.")]));
      return;
    }
    const reports = await Promise.all(experiments.slice(0, 12).map(({ name }) => call("GET", address(["insights", "experiments", name]))));
    if (signal.aborted) return;
    view.append(hint(asOf ? `as of ${asOf}` : "nothing is measured yet"), ...reports.map(describe));
  });
}

function describe(report) {
  const ratio = report.sample_ratio;
  const split = ratio && element("span", { className: ratio.is_mismatch ? "ill" : "well", textContent: ratio.is_mismatch ? `not as the weights say (p ${probability(ratio.p_value)}): nothing else here can be trusted` : `as the weights say (p ${probability(ratio.p_value)})` });
  const columns = [
    ["Variant", (one) => one.name], ["State", (one) => element("span", { className: one.state === "stopped" ? "ill" : "", textContent: one.is_control ? "control" : one.state })],
    ["People", (one) => number(one.people), "number"], [report.metric, (one) => value(one.values[report.metric]), "number"],
    ["Effect", (one) => interval(one.effects?.[report.metric])],
    ["So far", (one) => one.sentence ?? "", "plain"],
    ["Guardrails", (one) => one.guardrails.map((rail) => `${rail.metric}: ${rail.state}`).join(", ")],
  ];
  return panel(report.name, [
    facts([
      ["State", report.state], ["On", report.surface ?? "every surface"], ["Decided by", report.metric],
      ["People", `${number(report.people)}${report.planned_people ? ` of ${number(report.planned_people)} planned` : ""}`],
      ["Days left", report.days_left === null ? null : number(report.days_left)], ["Split", split],
    ]),
    table(columns, report.reports, `Variants of ${report.name}`),
    course(report),
    ...report.notes.map(hint),
  ]);
}

/** How the effects and their bounds have gone. */
function course({ metric, as_of: asOf, reports, history }) {
  const now = { at: asOf, effects: Object.fromEntries(reports.filter(({ effects }) => effects).map(({ name, effects }) => [name, effects[metric]])) };
  const readings = asOf ? [...history, now] : history;
  if (readings.length < 2) return hint("How the effects go is drawn once there are two readings, five minutes apart.");
  const times = readings.map(({ at }) => Date.parse(at) / 1000);
  const span = times.at(-1) - times[0] || 1;
  const bands = Object.entries(now.effects).map(([name, effect]) => ({
    label: `${name} ${interval(effect)}`,
    points: readings.flatMap(({ effects }, place) => (effects[name] ? [{ x: (times[place] - times[0]) / span, low: effects[name].low, value: effects[name].relative, high: effects[name].high }] : [])),
  }));
  return bandsPlot(`Effects on ${metric} over time`, bands, percent, `${duration(span)} ago`, "now");
}

function probability(p) {
  return p < 0.001 ? "< 0.001" : p.toPrecision(2);
}

function value(measured) {
  return measured === null || measured === undefined ? "–" : number(measured);
}

function percent(bound) {
  return `${bound > 0 ? "+" : ""}${number(100 * bound)} %`;
}

/** The bounds of the relative difference from the control. */
function interval(effect) {
  if (!effect) return "";
  const { relative, low, high } = effect;
  if (low === null || high === null) return relative === null ? "not known yet" : `${percent(relative)}, no bounds yet`;
  return `${percent(low)} … ${percent(high)}`;
}
