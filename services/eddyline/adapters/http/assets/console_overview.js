/** The process in figures: now, and within the last hour. */

import { address, call, follow } from "./api.js";
import { element } from "./elements.js";
import { barPlot, linePlot } from "./plots.js";
import { duration, figure, hint, number, panel, table } from "./views.js";

export const TITLE = "Overview";
const ROOT = "/console/api";
const WINDOW_SECONDS = 10;
const KEPT = 360;

export function show(view, _parts, { signal, guard }) {
  const figures = element("dl", { className: "figures" });
  const troubles = element("div");
  const [visible, made] = [element("div"), element("div")];
  const plots = ["Events a second", "Lists a second", "Visible, 95th percentile", "List, 95th percentile"].map((name) => [name, element("div")]);
  const lag = element("div");
  view.append(
    figures, troubles,
    element("div", { className: "columns" }, [
      panel("An event is in the profile after", [visible, hint("since the start of this process, by the broker's time")]),
      panel("A list takes", [made, hint("since the start of this process, with everything the server does")]),
    ]),
    element("div", { className: "columns wide" }, plots.map(([name, plot]) => panel(name, [plot], "h3"))),
    panel("Records not yet handled", [lag]),
    hint("Figures are this process's own. /metrics has them all."),
  );

  let kept = [];
  const receive = (reading) => {
    const { details, ...now } = reading;
    const recent = [...kept, now];
    const before = recent.findLast((one) => now.at - one.at >= WINDOW_SECONDS) ?? recent[0];
    showFigures(figures, before, now);
    showTroubles(troubles, details);
    visible.replaceChildren(histogram("Visible after", now.visible));
    made.replaceChildren(histogram("A list takes", now.list_seconds));
    if (!kept.length || now.at - kept.at(-1).at >= 10) kept = recent.slice(-KEPT);
    showPlots(plots, [...kept, now]);
    showLag(lag, details.lag);
  };
  guard(async () => {
    kept = (await call("GET", address(["history"], {}, ROOT))).readings;
    await follow(address(["figures"], {}, ROOT), (reading) => !signal.aborted && receive(reading), signal);
  });
}

function showFigures(list, before, now) {
  const seconds = Math.max(0.001, now.at - before.at);
  const rate = (name) => (now.at === before.at ? 0 : (now[name] - before[name]) / seconds);
  const since = (name) => now[name] - before[name];
  const share = since("lists") ? since("degraded") / since("lists") : 0;
  list.replaceChildren(
    figure("Events a second", number(rate("events"))),
    figure("Lists a second", number(rate("lists"))),
    figure("Visible, median", duration(quantile(before.visible, now.visible, 0.5))),
    figure("List, median", duration(quantile(before.list_seconds, now.list_seconds, 0.5))),
    figure("Records waiting", number(now.lag), now.lag > 10_000),
    figure("Lists from a cache", `${number(100 * share)} %`, share > 0),
    figure("Refused since the start", number(now.rejected), since("rejected") > 0),
    figure("Dead letters since the start", number(now.dead_letters), since("dead_letters") > 0),
  );
}

function showTroubles(place, details) {
  const lines = details.retrying.map((group) => element("li", { className: "ill", textContent: `${group} retries: something that it needs doesn't answer` }));
  const reasons = Object.entries(details.rejected).filter(([, count]) => count).map(([field, count]) => `${field}: ${number(count)}`);
  if (reasons.length) lines.push(element("li", {}, [`Refused since the start, by field: ${reasons.join(", ")} `, element("a", { href: "#/live", textContent: "look" })]));
  const letters = Object.entries(details.dead_letters).filter(([, count]) => count).map(([reason, count]) => `${reason}: ${number(count)}`);
  if (letters.length) lines.push(element("li", {}, [`Dead letters since the start, by reason: ${letters.join(", ")} `, element("a", { href: "#/dead-letters", textContent: "look" })]));
  const feeds = Object.entries(details.feeds).filter(([, count]) => count).map(([outcome, count]) => `${outcome}: ${number(count)}`);
  if (feeds.length) lines.push(element("li", {}, [`Readings of feeds since the start: ${feeds.join(", ")} `, element("a", { href: "#/catalogue", textContent: "look" })]));
  for (const { surface, variant, ctr } of details.ctr.slice(0, 12)) lines.push(element("li", { textContent: `CTR of the last minute, ${surface || "no surface"}, ${variant}: ${number(100 * ctr)} %` }));
  place.hidden = !lines.length;
  place.replaceChildren(element("ul", {}, lines));
}

/** Buckets that count up to a bound, as bars that count between two. */
function histogram(name, buckets) {
  const bars = buckets.map(([bound, count], place) => [bound === null ? "longer" : `≤ ${duration(bound)}`, count - (buckets[place - 1]?.[1] ?? 0)]);
  return barPlot(name, bars);
}

/** The quantile between two readings of a histogram, in seconds: its bucket's upper bound; null where nothing came. */
function quantile(before, now, share) {
  const counts = now.map(([bound, count], place) => [bound, count - (before[place]?.[1] ?? 0)]);
  const total = counts.at(-1)?.[1] ?? 0;
  if (total <= 0) return null;
  const found = counts.find(([, count]) => count >= share * total);
  return found[0] ?? counts.at(-2)?.[0] ?? null;
}

function showPlots(plots, readings) {
  const between = (make) => readings.slice(1).map((now, place) => [now.at, make(readings[place], now)]);
  const rate = (name) => between((before, now) => (now[name] - before[name]) / Math.max(0.001, now.at - before.at));
  const late = (name) => between((before, now) => quantile(before[name], now[name], 0.95));
  const drawn = [[rate("events"), number], [rate("lists"), number], [late("visible"), duration], [late("list_seconds"), duration]];
  plots.forEach(([name, place], at) => place.replaceChildren(linePlot(name, drawn[at][0], drawn[at][1])));
}

function showLag(place, lag) {
  const rows = lag.filter(({ records }) => records > 0).slice(0, 40);
  if (!rows.length) return place.replaceChildren(hint(lag.length ? "none" : "no consumer of this process has reported any yet"));
  const columns = [["Consumer", (one) => one.group], ["Topic", (one) => one.topic], ["Partition", (one) => one.partition, "number"], ["Records", (one) => number(one.records), "number"]];
  place.replaceChildren(table(columns, rows, "Records not yet handled, by partition", (one) => (one.records > 10_000 ? "ill" : null)));
}
