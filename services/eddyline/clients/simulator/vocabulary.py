"""TopicWords for a made-up catalogue: real ones, so that a text encoder tells its topics apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class TopicWords:
    """Words about a topic: nouns for titles, and activities."""

    subjects: Sequence[str]
    activities: Sequence[str]


def _words(subjects: str, activities: str) -> TopicWords:
    return TopicWords(tuple(subjects.split(", ")), tuple(activities.split(", ")))


def generic_words(topic: str) -> TopicWords:
    """Make words for a topic of another catalogue: its name, and what fits anything."""
    return TopicWords((topic,), ("seeing it for the first time", "coming back to it", "telling friends about it"))


VOCABULARY: Final[Mapping[str, TopicWords]] = {
    "Baking": _words(
        "sourdough, croissants, rye bread, puff pastry, cinnamon rolls, baguettes, brioche, focaccia, "
        "shortcrust, bagels",
        "kneading the dough, feeding a starter, proving overnight, baking on a stone, laminating with butter",
    ),
    "Astronomy": _words(
        "the Milky Way, Saturn's rings, comets, lunar eclipses, the Orion nebula, double stars, meteor "
        "showers, Jupiter, the Andromeda galaxy, sunspots",
        "observing with a telescope, reading a star chart, finding dark skies, timing an eclipse, sketching the moon",
    ),
    "Paddling": _words(
        "kayaks, canoe trips, whitewater, sea kayaking, river eddies, the Eskimo roll, paddle strokes, "
        "rapids, dry bags, packrafts",
        "running a rapid, ferrying across the current, bracing in waves, portaging a canoe, reading the river",
    ),
    "Gardening": _words(
        "tomatoes, roses, compost, raised beds, fruit trees, herbs, hedges, greenhouses, wildflowers, potatoes",
        "pruning in winter, sowing in spring, mulching the beds, watering at dusk, keeping slugs away",
    ),
    "Photography": _words(
        "portraits, long exposures, street scenes, prime lenses, tripods, film cameras, wildlife shots, "
        "flash, darkrooms, black and white prints",
        "metering the light, choosing an aperture, developing negatives, composing a frame, focusing by hand",
    ),
    "Jazz": _words(
        "saxophone solos, bebop, swing bands, walking bass lines, Miles Davis, jazz piano, ballads, drum "
        "brushes, big bands, improvisation",
        "trading fours, transcribing a solo, keeping time, playing standards, listening to old records",
    ),
    "Chess": _words(
        "the Sicilian defence, rook endgames, gambits, pawn structures, checkmates, knights, blitz games, "
        "opening theory, chess clocks, grandmasters",
        "calculating a combination, defending a lost position, castling early, studying endgames, playing tournaments",
    ),
    "Cycling": _words(
        "road bikes, mountain passes, gravel rides, bicycle chains, time trials, commuter bikes, panniers, "
        "the peloton, disc brakes, bike touring",
        "climbing in the saddle, mending a puncture, truing a wheel, drafting in a group, training with intervals",
    ),
    "Woodworking": _words(
        "dovetail joints, hand planes, oak tables, chisels, workbenches, lathes, wood stains, cabinets, "
        "Japanese saws, spoon carving",
        "sharpening a blade, planing a board, gluing a panel, turning a bowl, finishing with oil",
    ),
    "Programming": _words(
        "type systems, compilers, unit tests, databases, concurrency, regular expressions, code review, "
        "garbage collectors, web servers, algorithms",
        "debugging a race, profiling a slow loop, refactoring old code, writing a parser, designing an interface",
    ),
    "Football": _words(
        "penalty kicks, goalkeepers, the offside rule, midfielders, league tables, free kicks, cup finals, "
        "defenders, transfers, derbies",
        "pressing high, scoring from a corner, marking a striker, saving a penalty, counter-attacking",
    ),
    "Architecture": _words(
        "Gothic cathedrals, concrete towers, bridges, wooden houses, courtyards, Bauhaus, arches, facades, "
        "staircases, city squares",
        "drawing a floor plan, restoring a ruin, vaulting a roof, letting in daylight, building with brick",
    ),
    "Mountaineering": _words(
        "glaciers, ice axes, alpine huts, ridges, crampons, avalanches, north faces, summits, ropes, base camps",
        "crossing a crevasse, climbing a ridge, belaying a partner, acclimatising, planning an ascent",
    ),
    "Film": _words(
        "film noir, westerns, silent movies, documentaries, science fiction films, screenplays, film editing, "
        "directors, soundtracks, animated features",
        "shooting on location, cutting a scene, casting the lead, watching a premiere, writing dialogue",
    ),
    "Cooking": _words(
        "curries, fresh pasta, stews, grilled fish, knives, sauces, dumplings, salads, cast iron pans, spices",
        "simmering a stock, chopping an onion, searing meat, seasoning to taste, making a roux",
    ),
    "Investing": _words(
        "index funds, bonds, dividends, stock markets, interest rates, pensions, inflation, portfolios, "
        "balance sheets, property prices",
        "saving every month, rebalancing a portfolio, reading annual reports, comparing fees, spreading risk",
    ),
}

TITLES: Final = (
    "{subject}: a beginner's guide",
    "What nobody tells you about {subject}",
    "The story of {subject}",
    "Ten lessons from a life with {subject}",
    "{subject}, step by step",
    "Why {subject} still matter",
    "An evening with {subject}",
    "Better {subject} in a month",
)
CROSSED: Final = (
    "{subject} meets {other}",
    "From {subject} to {other}",
    "{subject} for people who love {other}",
)
DESCRIPTION: Final = "About {topic}: {subject}, {first} and {second}."
CROSSING: Final = " With a look at {topic}: {subject} and {first}."
