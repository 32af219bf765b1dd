"""Experiments as readers apply them: whose list is of which variant, and what it makes of the list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from tests.services.reading import SETTINGS, Shop, ids, stocked
from tests.services.reports import ExposureReports, ServedReports
from tests.services.serving import problem
from tests.support.fakes import feed, redelivered

from eddyline.adapters.vectors import ITEMS, PROFILES, ROWS
from eddyline.model.events import ServedList
from eddyline.model.experiments.assignment import NONE_STOPPED, assign, draw_variant, is_enrolled
from eddyline.model.experiments.definitions import parse_experiments
from eddyline.model.ids import Person
from eddyline.reader import ActiveExperiments
from eddyline.reader.schemas import RecommendationRequest
from eddyline.settings import STRATEGIES, RuleSettings, Settings, StrategySettings

FILE = """
[[experiment]]
name = "home"
surface = "home"
[[experiment.variant]]
name = "control"
[[experiment.variant]]
name = "kitchens"
strategy = "kitchens"

[[experiment]]
name = "diversity"
surface = "mail"
[[experiment.variant]]
name = "control"
[[experiment.variant]]
name = "diverse"
diversity = 1
per_category = 2

[[experiment]]
name = "outside"
surface = "shop"
[[experiment.variant]]
name = "theirs"
external = true
[[experiment.variant]]
name = "ours"
weights = { affinity = 0, popularity = 0, freshness = 3 }

[[experiment]]
name = "over"
ends = 2020-01-01T00:00:00Z
[[experiment.variant]]
name = "control"
[[experiment.variant]]
name = "newest"
strategy = "eddyline"
weights = { affinity = 0, taste = 0, session = 0, popularity = 0, trending = 0, freshness = 1 }
explore = 0
rotation = 0
"""
STILL = {"explore": 0.0, "rotation": 0.0}
STRATEGIES_HERE = {
    **STRATEGIES,
    "learned": STRATEGIES["learned"].model_copy(update=STILL),
    "kitchens": StrategySettings(popularity=1.0),
}
HERE = SETTINGS.model_copy(update={"strategies": STRATEGIES_HERE})
ALL = parse_experiments(FILE, HERE, "tests.toml")


class Trying:
    """A shop with experiments, and impressions that are told."""

    def __init__(self, settings: Settings = HERE) -> None:
        self.shop, self.reports = stocked(settings), ServedReports()
        self.running = ActiveExperiments(ALL)
        self.shop.reader = self.shop.new_reader(served_lists=self.reports.log, experiments=lambda: self.running)
        for n in range(4):
            self.shop.did("ada", f"space{n}", "like", ago=60.0 - n)

    def told(self) -> list[ServedList]:
        told = self.reports.told()
        self.reports.producer.sent.clear()
        return told

    def asked(self, **body: Any) -> dict[str, Any]:
        return self.shop.asked(**body)

    def forced(self, wanted: str, **body: Any) -> httpx.Response:
        headers = {"Eddyline-Variant": wanted}
        return self.shop.client.post("/v1/recommendations", json=body, headers=headers)

    def who(self, **asked: str) -> dict[str, Any]:
        answer = self.shop.get("/v1/experiments/assignment", **asked)
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said


@contextmanager
def trying(settings: Settings = HERE) -> Iterator[Trying]:
    it = Trying(settings)
    with it.shop.open():
        yield it


@pytest.fixture(scope="module")
def _it() -> Iterator[Trying]:
    with trying() as it:
        yield it


@pytest.fixture
def it(_it: Trying) -> Trying:
    """For tests that only read."""
    _it.running, _it.shop.store.down = ActiveExperiments(ALL), set()
    _it.told()
    return _it


@pytest.fixture
def fresh() -> Iterator[Trying]:
    """For tests that change something."""
    with trying() as it:
        yield it


def someone(experiment: str, variant: str, kind: str = "u", length: int = 0) -> str:
    """The id of someone who gets a variant, of so many characters at least."""
    named = ALL.named(experiment)
    assert named is not None
    return next(
        one
        for one in (f"someone{n}".ljust(length, "x") for n in range(1000))
        if is_enrolled(named, f"{kind}:{one}") and draw_variant(named, f"{kind}:{one}").name == variant
    )


def mark(answer: dict[str, Any]) -> tuple[str | None, str]:
    return answer["experiment"], answer["variant"]


# -- whose list it is of -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["control", "kitchens"])
def test_an_answer_and_its_impression_say_the_variant(it: Trying, variant: str) -> None:
    person = someone("home", variant)
    answer = it.asked(user_id=person, surface="home")
    assert mark(answer) == ("home", variant)
    assert answer["strategy"] == ("learned" if variant == "control" else "kitchens")
    (told,) = it.told()
    revision = ALL.experiments[0].revision
    assert (told.experiment, told.variant, told.revision, told.forced) == ("home", variant, revision, False)


def test_where_no_experiment_runs_the_variant_is_the_strategy(it: Trying) -> None:
    assert mark(it.asked(user_id="ada")) == (None, "learned")
    assert mark(it.asked(user_id="ada", strategy="content")) == (None, "content")
    assert mark(it.shop.recommend("ada")) == (None, "learned")
    assert [one.experiment for one in it.told()] == [None] * 3


def test_nobodys_list_is_in_no_experiment(it: Trying) -> None:
    assert mark(it.asked(surface="home")) == (None, "learned")


def test_a_list_from_the_cache_is_in_none(it: Trying) -> None:
    person = someone("home", "control")
    it.asked(surface="home")
    it.shop.store.down = {"query", "retrieve"}
    answer = it.asked(user_id=person, surface="home")
    assert (answer["degraded"], *mark(answer)) == (True, None, "degraded")


def test_every_page_of_a_list_is_of_the_same_variant(it: Trying) -> None:
    person = someone("home", "kitchens")
    first = it.asked(user_id=person, surface="home", limit=5)
    second = it.asked(user_id=person, surface="home", limit=5, next=first["next"])
    assert mark(first) == mark(second) == ("home", "kitchens")
    assert not set(ids(first)) & set(ids(second))


def test_a_stopped_variants_people_get_the_usual_list(it: Trying) -> None:
    person, home = someone("home", "kitchens"), ALL.experiments[0]
    it.running = ActiveExperiments(ALL, frozenset({("home", home.revision, "kitchens")}))
    answer = it.asked(user_id=person, surface="home")
    assert (answer["strategy"], *mark(answer)) == ("learned", None, "learned")
    assert mark(it.asked(user_id=someone("home", "control"), surface="home")) == ("home", "control")


# -- what it makes of the list -----------------------------------------------------------------------------------------


def test_a_variant_varies_and_caps_the_list(it: Trying) -> None:
    diverse = it.forced("diversity/diverse", user_id="ada", limit=6).json()
    assert Counter(item["category"] for item in diverse["items"]) == {"space": 2, "kitchen": 2}
    assert len(ids(it.forced("diversity/control", user_id="ada", limit=6).json())) == 6
    only_capped = it.asked(user_id="ada", per_category=2, limit=6)
    assert ids(only_capped) != ids(diverse)
    assert ids(it.asked(user_id="ada", per_category=2, diversity=1.0, limit=6)) == ids(diverse)


def test_a_variants_weights_rank_from_the_first_list_of_a_visit_on(it: Trying) -> None:
    answer = it.forced("over/newest", user_id="ada", hide=[], limit=6, explain=True).json()
    newest = sorted(
        [*((n, f"space{n}") for n in range(6)), *((n + 0.5, f"kitchen{n}") for n in range(6))],
    )
    assert ids(answer) == [item_id for _, item_id in newest[:6]]
    assert all(item["scores"].keys() <= {"freshness"} for item in answer["items"])


def test_a_variants_strategy_comes_before_a_rules(it: Trying) -> None:
    ruled = HERE.model_copy(update={"rules": (RuleSettings(name="always", strategy="content"),)})
    with trying(ruled) as other:
        assert other.asked(user_id="ada")["strategy"] == "content"
        assert other.asked(user_id=someone("home", "kitchens"), surface="home")["strategy"] == "kitchens"
        assert other.asked(user_id=someone("home", "control"), surface="home")["strategy"] == "content"


@pytest.mark.parametrize(
    ("surface", "asked", "counts"),
    [
        ("home", {"strategy": "content"}, False),
        ("home", {"diversity": 0.3, "explore": 0.0, "per_category": 5}, True),
        ("mail", {"strategy": "content"}, False),
        ("mail", {"diversity": 0.3}, False),
        ("mail", {"per_category": 4}, False),
        ("mail", {"explore": 0.2}, True),
        ("mail", {"filter": {"tag": "film"}, "exclude": ["space1"], "min_score": 0.0}, True),
    ],
)
def test_a_list_that_is_asked_for_otherwise_is_in_no_experiment(
    it: Trying, surface: str, asked: dict[str, Any], counts: bool
) -> None:
    for variant in ("control", "kitchens" if surface == "home" else "diverse"):
        experiment = "home" if surface == "home" else "diversity"
        answer = it.asked(user_id=someone(experiment, variant), surface=surface, **asked)
        assert answer["experiment"] == (experiment if counts else None)
        if not counts:
            assert answer["variant"] == answer["strategy"] == asked.get("strategy", "learned")


def test_an_answer_in_an_experiment_asks_no_more_of_the_store(it: Trying, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, str]] = []
    for name in ("retrieve", "query"):
        real = getattr(it.shop.store, name)

        def counting(collection: str, *rest: Any, _name: str = name, _real: Any = real, **more: Any) -> Any:
            calls.append((_name, collection))
            return _real(collection, *rest, **more)

        monkeypatch.setattr(it.shop.store, name, counting)
    it.shop.monotonic.forward(3600)
    assert it.asked(user_id="ada", surface="home")["experiment"] == "home"
    look_ups = [("retrieve", PROFILES), ("retrieve", ITEMS), ("retrieve", ROWS)]
    assert sorted(calls) == sorted([*look_ups, ("query", ITEMS), ("query", ROWS)])


# -- an external variant -----------------------------------------------------------------------------------------------


def test_an_external_variant_served_anyway_gives_the_usual_list_which_is_not_measured(it: Trying) -> None:
    person = someone("outside", "theirs")
    answer = it.asked(user_id=person, surface="shop")
    assert (answer["strategy"], *mark(answer)) == ("learned", "outside", "theirs")
    assert ids(answer) == ids(it.asked(user_id=person))
    assert [one.experiment for one in it.told()] == [None], "only the one without a surface"
    it.asked(user_id=someone("outside", "ours"), surface="shop")
    assert [(one.experiment, one.variant) for one in it.told()] == [("outside", "ours")]


@pytest.mark.parametrize(("variant", "external"), [("theirs", True), ("ours", False)])
@pytest.mark.parametrize("kind", ["u", "a"])
def test_an_app_can_ask_for_the_assignment(it: Trying, variant: str, external: bool, kind: str) -> None:
    names = {"u": "user_id", "a": "anonymous_id"}
    asked = {names[kind]: someone("outside", variant, kind), "surface": "shop"}
    outside = ALL.named("outside")
    assert outside is not None
    assert it.who(**asked) == {
        "experiment": "outside",
        "variant": variant,
        "revision": outside.revision,
        "external": external,
    }
    assert it.told() == [], "to ask shows nothing"


def test_who_is_in_none_is_told_so(it: Trying) -> None:
    nothing = {"experiment": None, "variant": None, "revision": None, "external": False}
    assert it.who(user_id="ada") == nothing
    assert it.who(anonymous_id="x", surface="elsewhere") == nothing


@pytest.mark.parametrize("person", ["https://a/b?c", "..", "a/similar", "ü&x=1", "50 %"])
def test_any_id_can_be_asked_for(it: Trying, person: str) -> None:
    found = assign(ALL, f"u:{person}", "home", it.shop.clock())
    assert found is not None
    assert it.who(user_id=person, surface="home")["variant"] == found.variant


@pytest.mark.parametrize(
    ("asked", "field"), [({}, "user_id"), ({"user_id": ""}, "user_id"), ({"user_id": "a", "colour": "red"}, "colour")]
)
def test_a_wrong_question_is_refused(it: Trying, asked: dict[str, str], field: str) -> None:
    assert problem(it.shop.get("/v1/experiments/assignment", **asked))["field"] == field


# -- forced ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["home/kitchens", "over/newest", "outside/ours"])
def test_a_header_forces_a_variant_whether_it_runs_there_or_not(it: Trying, wanted: str) -> None:
    answer = it.forced(wanted, user_id="ada").json()
    assert "/".join(map(str, mark(answer))) == wanted
    (told,) = it.told()
    assert (f"{told.experiment}/{told.variant}", told.forced) == (wanted, True)


def test_a_header_forces_a_stopped_variant_and_nobodys_list_too(it: Trying) -> None:
    it.running = ActiveExperiments(ALL, frozenset({("home", ALL.experiments[0].revision, "kitchens")}))
    assert it.forced("home/kitchens").json()["strategy"] == "kitchens"
    path = "/v1/users/ada/recommendations"
    answer = it.shop.client.get(path, headers={"Eddyline-Variant": "home/kitchens"}).json()
    assert (answer["strategy"], *mark(answer)) == ("kitchens", "home", "kitchens")


def test_a_forced_list_from_the_cache_is_not_measured_either(fresh: Trying) -> None:
    fresh.asked(user_id="ada")
    fresh.shop.store.down = {"all"}
    fresh.told()
    assert fresh.forced("home/kitchens", user_id="ada").json()["degraded"]
    assert fresh.asked(user_id="ada")["degraded"]
    assert [(one.forced, one.degraded, one.experiment) for one in fresh.told()] == [
        (True, True, None),
        (False, True, None),
    ]


@pytest.mark.parametrize("wanted", ["home/nope", "nope/control", "home", "/", "x" * 300])
def test_a_variant_that_is_not_there_is_refused_with_those_that_are(it: Trying, wanted: str) -> None:
    refusal = problem(it.forced(wanted, user_id="ada"))
    if len(wanted) < 256:
        assert "known are home/control, home/kitchens, diversity/control" in refusal["detail"]


def test_what_the_request_asks_for_comes_before_a_forced_variant(it: Trying) -> None:
    answer = it.forced("home/kitchens", user_id="ada", strategy="content").json()
    assert (answer["strategy"], *mark(answer)) == ("content", "home", "kitchens")


# -- from anonymous to known -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["control", "kitchens"])
def test_who_signs_in_keeps_their_variant(fresh: Trying, variant: str) -> None:
    visitor = someone("home", variant, "a")
    other = "kitchens" if variant == "control" else "control"
    user = someone("home", other)
    assert mark(fresh.asked(user_id=user, surface="home")) == ("home", other), "were they not the visitor"
    before = fresh.asked(anonymous_id=visitor, surface="home")
    with_both = fresh.asked(anonymous_id=visitor, user_id=user, surface="home")
    assert mark(before) == mark(with_both) == ("home", variant), "of the user nothing is known yet"
    fresh.shop.did(f"a:{visitor}", "space1", ago=30)
    fresh.shop.identify(visitor, user)
    for asked in ({"user_id": user}, {"anonymous_id": visitor}, {"user_id": user, "anonymous_id": visitor}):
        assert mark(fresh.asked(**asked, surface="home")) == ("home", variant)
        assert fresh.who(**asked, surface="home")["variant"] == variant
    fresh.shop.did(user, "space2")
    assert mark(fresh.asked(user_id=user, surface="home")) == ("home", variant)


def test_who_sends_both_ids_keeps_their_variant_when_it_is_heard_what_they_were_shown(fresh: Trying) -> None:
    reports = ExposureReports(clock=fresh.shop.clock)
    reader = fresh.shop.new_reader(exposures=reports.log, experiments=lambda: fresh.running)
    visitor, user = someone("home", "kitchens", "a"), someone("home", "control")
    both: dict[str, Any] = {"user_id": user, "anonymous_id": visitor, "surface": "home"}
    assert mark(reader.recommend(RecommendationRequest(**both))) == ("home", "kitchens")
    reports.send()
    (told,) = reports.producer.sent
    feed(fresh.shop.profiler, redelivered(told, 10_000, at=fresh.shop.clock()))
    profile = reader.profiles.load(Person("u", user))
    assert profile is not None
    assert profile.identity.first_seen == (fresh.shop.clock() - 60, f"a:{visitor}")
    for asked in (both, both | {"anonymous_id": None}):
        assert mark(reader.recommend(RecommendationRequest(**asked))) == ("home", "kitchens")


@pytest.mark.parametrize("length", [0, 512])
def test_an_impression_says_by_whom_the_person_was_assigned_where_it_is_another_id(fresh: Trying, length: int) -> None:
    visitor = someone("home", "kitchens", "a", length)
    fresh.asked(anonymous_id=visitor, surface="home")
    fresh.asked(user_id="ada", anonymous_id=visitor, surface="home")
    fresh.asked(user_id="signed in", anonymous_id=visitor, surface="home")
    fresh.asked(user_id="signed in", anonymous_id=visitor, surface="nowhere else")
    fresh.forced("home/kitchens", user_id="signed in", anonymous_id=visitor)
    assert [(one.person.key, one.experiment, one.unit) for one in fresh.told()] == [
        (f"a:{visitor}", "home", None),
        ("u:ada", "home", None),
        ("u:signed in", "home", f"a:{visitor}"),
        ("u:signed in", None, None),
        ("u:signed in", "home", None),
    ]
    fresh.shop.did(f"a:{visitor}", "space1", ago=30)
    fresh.shop.identify(visitor, "signed in")
    fresh.asked(user_id="signed in", surface="home")
    assert [one.unit for one in fresh.told()] == [f"a:{visitor}"], "after they are known, too"


def test_a_user_who_was_there_before_keeps_theirs(fresh: Trying) -> None:
    visitor, user = someone("home", "control", "a"), someone("home", "kitchens")
    fresh.shop.did(user, "space2", ago=900)
    fresh.shop.did(f"a:{visitor}", "space1", ago=30)
    assert mark(fresh.asked(user_id=user, anonymous_id=visitor, surface="home")) == ("home", "kitchens")
    fresh.shop.identify(visitor, user)
    assert mark(fresh.asked(user_id=user, surface="home")) == ("home", "kitchens")
    assert mark(fresh.asked(anonymous_id=visitor, surface="home")) == ("home", "kitchens")


def test_events_of_the_request_alone_change_no_assignment(fresh: Trying) -> None:
    person = someone("home", "kitchens")
    recent = [{"item_id": "space1"}]
    assert mark(fresh.asked(user_id=person, surface="home", recent=recent)) == ("home", "kitchens")


def test_who_was_erased_is_someone_new(fresh: Trying) -> None:
    visitor, user = someone("home", "control", "a"), someone("home", "kitchens")
    fresh.shop.did(f"a:{visitor}", "space1", ago=30)
    fresh.shop.identify(visitor, user)
    assert mark(fresh.asked(user_id=user, surface="home")) == ("home", "control")
    fresh.shop.user(user, {"interests": ["space"]})
    fresh.shop.clock.forward(10)
    fresh.shop.user(user, None)
    assert mark(fresh.asked(user_id=user, surface="home")) == ("home", "kitchens")
    assert fresh.running.stopped == NONE_STOPPED


def test_a_reader_runs_without_any() -> None:
    shop = Shop(HERE)
    with shop.open():
        assert shop.recommend("ada")["experiment"] is None
        refusal = problem(shop.client.get("/v1/users/ada/recommendations", headers={"Eddyline-Variant": "a/b"}))
        assert "none is set" in refusal["detail"]
