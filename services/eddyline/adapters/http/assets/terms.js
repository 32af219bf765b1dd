/** The terms of a score, as a bar and as numbers. */

import { element, part } from "./elements.js";

/** The terms of a score by what they go by, in the order of a bar; the style sheet gives each group its colour. */
const GROUPS = {
  others: ["affinity", "next", "recent", "people"],
  content: ["session", "taste", "lifetime", "onboarding", "content", "relevance"],
  crowd: ["popularity", "trending", "rating"],
  novelty: ["freshness", "explore"],
};
const TERMS = Object.values(GROUPS).flat();
const OTHER = { group: "other", place: 0 };
const COLOURS = new Map(Object.entries(GROUPS).flatMap(([group, terms]) => terms.map((term, place) => [term, { group, place }])));

/** Fill the bar and the numbers of a tile; `largest`: the score whose bar is as long as there is room. */
export function fillTerms(shown, item, largest) {
  const terms = Object.entries(item.scores ?? {}).filter(([, value]) => Math.abs(value) >= 0.005);
  terms.sort((one, other) => placeOf(one[0]) - placeOf(other[0]));
  const details = part(shown, "terms");
  details.hidden = terms.length === 0;
  const segments = terms.filter(([, value]) => value > 0).map(([term, value]) => {
    const segment = element("span", { className: "term", title: `${term} ${value.toFixed(2)}` });
    colour(segment, term);
    segment.style.width = `${(100 * value) / largest}%`;
    return segment;
  });
  part(shown, "bar").replaceChildren(...segments);
  part(shown, "bar").setAttribute("aria-label", `Score ${item.score.toFixed(2)}: ${terms.map(([term, value]) => `${term} ${value.toFixed(2)}`).join(", ")}`);
  part(shown, "numbers").replaceChildren(
    ...terms.map(([term, value]) => {
      const line = element("li", {}, [element("span", { textContent: term }), element("span", { textContent: value.toFixed(2) })]);
      colour(line, term);
      return line;
    }),
  );
}

function colour(shown, term) {
  const { group, place } = COLOURS.get(term) ?? OTHER;
  shown.dataset.group = group;
  shown.style.setProperty("--place", place);
}

function placeOf(term) {
  return COLOURS.has(term) ? TERMS.indexOf(term) : TERMS.length;
}

/** Add up what speaks for an item. */
export function positiveSum(item) {
  return Object.values(item.scores ?? {}).reduce((sum, value) => sum + Math.max(0, value), 0);
}
