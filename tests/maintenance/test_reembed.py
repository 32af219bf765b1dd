"""Everything re-embedded: items from their stored text, profiles from the log, or by their items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.maintenance.rebuilding import ITEM_NAMES, Deployment, History, wrong_profiles
from tests.services.learning import row_point
from tests.support.fakes import LOG, TinyEncoder, WiderEncoder, near, text_vector

from eddyline.adapters.vectors import (
    Collections,
    Distance,
    Point,
    generations,
    item_collection,
    profile_collection,
)
from eddyline.errors import Misconfigured
from eddyline.maintenance.generations.handover import NewGeneration
from eddyline.maintenance.generations.reembed import reembed
from eddyline.model.ids import item_point_id
from eddyline.model.language import Detect, detect_no_language
from eddyline.model.text import DEFAULT, Template
from eddyline.settings import TemplateSettings


def run(
    it: Deployment,
    encoder: TinyEncoder,
    template: Template = DEFAULT,
    detect: Detect = detect_no_language,
) -> NewGeneration:
    def create(target: Collections) -> None:
        items = item_collection(encoder.dimension, Distance.COSINE, {})
        it.store.ensure(replace(items, name=target.items))
        it.store.ensure(profile_collection(target.profiles))

    return reembed(
        it.store,
        encoder,
        it.settings.profile,
        create,
        it.said.append,
        it.source(),
        template=template,
        detect=detect,
    )


def in_the_other_model(seed: int, steps: int) -> Deployment:
    """The same history in a deployment that had the wider model from the start."""
    it, encoder = Deployment(), WiderEncoder()
    run(it, encoder)
    it.start()
    History(seed, erasures=False).happen(it, steps)
    it.pump()
    return it


@pytest.fixture
def it() -> Deployment:
    return Deployment()


@pytest.mark.parametrize("seed", range(3))
def test_everything_is_as_if_the_new_model_had_been_there_from_the_start(seed: int) -> None:
    it = Deployment()
    History(seed, erasures=False).happen(it, 250)
    it.pump()
    done = run(it, WiderEncoder())
    assert (done.collections.items, done.collections.profiles) == ("items-2", "profiles-2")
    assert (done.items, done.counts.carried) == (len(ITEM_NAMES), 0)
    control = in_the_other_model(seed, 250)
    assert wrong_profiles(it, control) == {}
    profile = it.profile("u:p0")
    assert profile is not None
    assert profile.taste.space == "wider-t1"
    assert profile.taste.sums.taste.sum is not None
    assert len(profile.taste.sums.taste.sum) == 20


def test_what_happens_afterwards_is_folded_in_the_new_space(it: Deployment) -> None:
    history = History(7)
    history.happen(it, 100)
    it.pump()
    run(it, WiderEncoder())
    it.start()
    history.happen(it, 100)
    it.pump()
    profile = it.profile("u:p1")
    assert profile is not None
    assert profile.taste.space == "wider-t1"


def test_items_keep_what_is_not_a_content_vector(it: Deployment) -> None:
    name = item_point_id(ITEM_NAMES[0])
    known = it.store.retrieve("items", [name])[name]
    extra = {"offer": {"available": False, "at": 5.0}, "listed_at": 7.0, "servable": False}
    it.store.set_payload("items-1", {name: extra})
    run(it, WiderEncoder())
    after = it.store.retrieve("items", [name], vectors=("content",))[name]
    assert {key: after.payload[key] for key in extra} == extra
    assert after.payload["meta"] == known.payload["meta"]
    assert after.payload["space"] == "wider-t1"
    near(after.vectors["content"], WiderEncoder().encode([ITEM_NAMES[0]])[0], 1e-5)


def test_rows_are_of_no_space_and_stay_what_they_are(it: Deployment) -> None:
    it.store.upsert("rows-1", [row_point(ITEM_NAMES[0])])
    run(it, WiderEncoder())
    assert generations.live(it.store) == Collections("items-2", "profiles-2", "rows-1")
    assert it.store.count("rows") == 1


def test_an_offer_before_its_item_is_kept(it: Deployment) -> None:
    early = Point(item_point_id("early"), {}, {"item_id": "early", "offer": {"available": True, "at": 1.0}})
    it.store.upsert("items-1", [early])
    run(it, WiderEncoder())
    after = it.store.retrieve("items", [early.id])[early.id]
    assert dict(after.payload) == dict(early.payload)


def test_items_that_change_or_go_meanwhile_are_copied_again(it: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    changed, gone = ITEM_NAMES[0], ITEM_NAMES[1]
    commit = it.log.members

    def while_writers_stop(group: str) -> int:
        it.add_items("a new one")
        it.store.set_payload("items-1", {item_point_id(changed): {"meta": {"title": "another title", "tags": []}}})
        it.store.delete("items-1", [item_point_id(gone)])
        return commit(group)

    monkeypatch.setattr(it.log, "members", while_writers_stop)
    run(it, WiderEncoder())
    found = it.store.retrieve("items", [item_point_id(n) for n in (changed, gone, "a new one")], vectors=("content",))
    assert found.keys() == {item_point_id(changed), item_point_id("a new one")}
    near(found[item_point_id(changed)].vectors["content"], WiderEncoder().encode(["another title"])[0], 1e-5)


def test_a_text_is_embedded_once(it: Deployment) -> None:
    encoder = WiderEncoder()
    run(it, encoder)
    assert sorted(text for text in encoder.texts if text) == sorted(ITEM_NAMES)


def test_answers_are_re_embedded_from_the_log_of_users(it: Deployment) -> None:
    at = it.log.say("ada", {"user_id": "ada", "interests": ["space", "rivers"]}, topic="users")
    old = TinyEncoder("tiny-t1").encode(["whatever it was"])[0]
    it.log.say(
        "u:ada",
        {
            "type": "onboarded",
            "user_id": "ada",
            "vector": [float(x) for x in old],
            "space": "tiny-t1",
            "segment": "new",
            "origin": {"log": LOG, "partition": at.partition, "offset": at.offset},
        },
    )
    it.pump()
    run(it, WiderEncoder())
    ada = it.profile("u:ada")
    assert ada is not None
    assert ada.identity.segment == "new"
    near(ada.taste.onboarding, WiderEncoder().encode(["Interests: space, rivers"])[0], 1e-5)


def answered_long_ago(it: Deployment) -> None:
    """Ada's answers are in her profile; the record that said them is in no log."""
    it.log.say(
        "u:ada",
        {
            "type": "onboarded",
            "user_id": "ada",
            "vector": [0.25] * 16,
            "space": "tiny-t1",
            "segment": "new",
            "origin": {"log": LOG, "partition": 0, "offset": 99},
        },
    )
    it.pump()


def test_answers_that_nobody_can_embed_any_more_are_dropped_and_the_rest_kept(it: Deployment) -> None:
    answered_long_ago(it)
    run(it, WiderEncoder())
    ada = it.profile("u:ada")
    assert ada is not None
    assert (ada.taste.onboarding, ada.identity.segment) == (None, "new")


def test_lost_answers_are_counted(it: Deployment) -> None:
    answered_long_ago(it)
    for partition, (_, high) in it.log.bounds("interactions").items():
        it.log.forget("interactions", partition, high)
    run(it, WiderEncoder())
    assert any("the answers of 1 people are lost" in line and "PUT /v1/users" in line for line in it.said)


def test_people_older_than_the_log_are_approximated_by_their_newest_items(it: Deployment) -> None:
    for name in ("film 0 war", "film 2 space"):
        it.log.say("u:p0", {"type": "like", "item_id": name, "user_id": "p0"})
        it.pump()
    before = it.profile("u:p0")
    for partition in range(4):
        held = it.log.bounds("interactions")[partition].high
        it.log.forget("interactions", partition, held)
    it.log.say("u:p0", {"type": "like", "item_id": "film 5 bread", "user_id": "p0"})
    it.pump()
    done = run(it, WiderEncoder())
    after = it.profile("u:p0")
    assert done.counts.carried == 1
    assert any("older than the log" in line for line in it.said)
    assert before is not None
    assert after is not None
    assert (after.events, after.seen.recents.newest_first()[0]) == (3, "film 5 bread")
    assert after.taste.sums.taste.sum is not None
    wanted = WiderEncoder().encode(["film 0 war", "film 2 space", "film 5 bread"]).sum(axis=0)
    cosine = float(
        wanted @ after.taste.sums.taste.sum / np.linalg.norm(wanted) / np.linalg.norm(after.taste.sums.taste.sum)
    )
    assert cosine > 0.99


def test_what_was_sent_in_the_space_before_and_not_read_yet_is_taken_in_the_new_one(it: Deployment) -> None:
    it.log.say("a:v0", {"type": "like", "item_id": ITEM_NAMES[2], "anonymous_id": "v0"})
    it.pump()
    identify = it.log.say("a:v0", {"type": "identify", "anonymous_id": "v0", "user_id": "ada"})
    it._pump(identify.partition, 1)  # the visitor's owner has sent them off; the user's hasn't seen it yet
    it.log.forget("interactions", identify.partition, it.log.bounds("interactions")[identify.partition].high)
    users = it.log.say("bob", {"user_id": "bob", "interests": ["rivers"]}, topic="users")
    onboarded = {
        "type": "onboarded",
        "user_id": "bob",
        "vector": [0.25] * 16,
        "space": "tiny-t1",
        "origin": {"log": LOG, "partition": users.partition, "offset": users.offset},
    }
    it.log.say("u:bob", onboarded)
    run(it, WiderEncoder())
    ada, bob = it.profile("u:ada"), it.profile("u:bob")
    assert ada is not None
    assert bob is not None
    assert (ada.events, ada.taste.space, bob.taste.space) == (1, "wider-t1", "wider-t1")
    assert ada.taste.sums.taste.sum is not None
    unit = ada.taste.sums.taste.sum / np.linalg.norm(ada.taste.sums.taste.sum)
    near(unit, WiderEncoder().encode([ITEM_NAMES[2]])[0], 1e-4, 1e-5)
    near(bob.taste.onboarding, WiderEncoder().encode(["Interests: rivers"])[0], 1e-5)


def test_a_failure_leaves_the_old_generation_live_and_nothing_behind(
    it: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    History(1).happen(it, 30)
    it.pump()
    it.log.in_group["embedder"] = 2
    monkeypatch.setattr("eddyline.maintenance.generations.handover.LEAVING_SECONDS", 0.0)
    with pytest.raises(Misconfigured, match="2 members of group embedder"):
        run(it, WiderEncoder())
    assert generations.live(it.store) == Collections("items-1", "profiles-1", "rows-1")
    assert it.store.collections() == ["blends", "items-1", "profiles-1", "rows-1"]
    assert generations.current(it.store).sealed == {}


def test_another_template_embeds_the_items_by_it(it: Deployment) -> None:
    name = item_point_id(ITEM_NAMES[0])
    meta = dict(it.store.retrieve("items", [name])[name].payload["meta"]) | {"category": "boats"}
    it.store.set_payload("items", {name: {"meta": meta}})
    averaging = Template.from_settings(TemplateSettings(mode="average", fields=("title", "category")))
    run(it, TinyEncoder("tiny-other"), template=averaging)
    after = it.store.retrieve("items", [name], vectors=("content",))[name]
    total = text_vector(meta["title"]) + text_vector("Category: boats")
    near(after.vectors["content"], total / np.linalg.norm(total), 1e-5)
    assert after.payload["space"] == "tiny-other"


def test_items_from_before_get_their_language_once_each(it: Deployment) -> None:
    asked: list[str] = []

    def detect(text: str) -> str:
        asked.append(text)
        return "de"

    said, silent = (item_point_id(name) for name in ITEM_NAMES[:2])
    meta = dict(it.store.retrieve("items", [said])[said].payload["meta"]) | {"language": "en"}
    it.store.set_payload("items", {said: {"meta": meta}})
    it.store.delete_payload("items", [said, silent], ["language"])
    run(it, WiderEncoder(), detect=detect)
    after = {point: stored.payload for point, stored in it.store.retrieve("items-2", [said, silent]).items()}
    assert after[said]["language"] == {"code": "en", "detected": False}
    assert after[silent]["language"] == {"code": "de", "detected": True}
    assert "language" not in after[silent]["meta"]
    assert sorted(asked) == sorted(ITEM_NAMES[1:])
