"""Settings: every wrong one is refused by name, and nothing secret is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from eddyline import settings
from eddyline.errors import Misconfigured
from eddyline.model.filters import BUILT_IN


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings from outside, no file in the way."""
    import os

    for name in [name for name in os.environ if name.startswith("EDDYLINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def write(text: str) -> Path:
    path = Path("given.toml")
    path.write_text(text)
    return path


def test_without_any_the_defaults_hold() -> None:
    assert settings.load() == settings.Settings()


def test_the_environment_goes_over_the_file_and_the_file_over_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write('[ranking]\nknown_evidence = 6\nrotation_hours = 7\n[attributes]\nbrand = "keyword"\n')
    monkeypatch.setenv("EDDYLINE_RANKING__KNOWN_EVIDENCE", "8")
    loaded, default = settings.load(path).ranking, settings.RankingSettings()
    assert (loaded.known_evidence, loaded.rotation_hours) == (8.0, 7.0)
    assert loaded.freshness_half_life_hours == default.freshness_half_life_hours
    assert settings.load(path).attributes == {"brand": "keyword"}


def test_a_section_within_a_section_is_set_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDDYLINE_ENCODER__TEMPLATE__MODE", "average")
    monkeypatch.setenv("EDDYLINE_ENCODER__TEMPLATE__WEIGHTS__TITLE", "2.5")
    template = settings.load().encoder.template
    assert (template.mode, template.weights) == ("average", {"title": 2.5})
    assert "encoder.template.weights" in {path for path, *_ in settings.describe()}


def test_the_file_is_found_here_or_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("eddyline.toml").write_text("[server]\nport = 1\n")
    assert settings.load().server.port == 1
    Path("other.toml").write_text("[server]\nport = 2\n")
    monkeypatch.setenv("EDDYLINE_CONFIG", "other.toml")
    assert settings.load().server.port == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[server]\nport = 70000\n", "server.port: "),
        ("[server]\ncolour = 1\n", "server.colour: there is no such setting"),
        ("[server]\nmax_in_flight_bytes = 1000\n", "max_in_flight_bytes must be at least max_body_bytes"),
        ("[sevrer]\nport = 1\n", "sevrer: there is no such setting"),
        ("[ranking]\nknown_evidence = -1\n", "ranking.known_evidence: "),
        ("[ranking]\nknown_evidence = nan\n", "ranking.known_evidence: "),
        ("[strategies.eddyline]\ntaste = -1\n", "strategies.eddyline.taste: "),
        ("[strategies.mine]\ncolour = 1\n", "strategies.mine.colour: there is no such setting"),
        ("[strategies.mine]\nsession_start = {colour = 1}\n", "strategies.mine.session_start"),
        ('[ranking]\nstrategy = "mine"\n', "'mine' is not one of the strategies: eddyline, "),
        ('[attributes]\nbrand = "colour"\n', "attributes.brand: "),
        ('[attributes]\n"a b" = "keyword"\n', "'a b': use ASCII letters"),
        ("[events.weights]\nerased = 1\n", "'erased' is reserved"),
        ('[kafka]\ngroup_protocol = "fast"\n', "kafka.group_protocol: "),
        ('[encoder]\nprecision = "int8"\n', "needs backend 'onnx': set encoder.backend"),
        ('[encoder]\nbackend = "onnx"\ndevice = "cuda"\n', "runs on the CPU: set device to 'cpu'"),
        ("log_level = 3\n", "log_level: "),
        ("[server\n", "is not valid TOML"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(text: str, reason: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        settings.load(write(text))
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("EDDYLINE_SERVER__PORT", "many", "server.port: "),
        ("EDDYLINE_SEVRER__PORT", "1", "unknown environment variable EDDYLINE_SEVRER__PORT"),
        ("EDDYLINE_EVENTS__WEIGHTS", "{", "wrong settings in the environment"),
        ("EDDYLINE_CONFIG", "nowhere.toml", "there is no settings file nowhere.toml"),
        ("EDDYLINE_SERVER__CORS_ORIGINS", "https://shop.example", "server"),
        ("EDDYLINE_KAFKA__PREFIX", "no spaces", "kafka.prefix"),
        ("EDDYLINE_EVENTS__WEIGHTS__CLICK", "nan", "events.weights.click"),
        ("EDDYLINE_EVENTS__WEIGHTS__ERASED", "1", "'erased' is reserved"),
        ("EDDYLINE_ATTRIBUTES__BRAND", "colour", "attributes.brand"),
        ("eddyline_reader__hied", "[]", "eddyline_reader__hied"),
        ("EDDYLINE_READER__HIDE", '["bought"]', "reader.hide"),
    ],
)
def test_a_wrong_variable_is_refused_by_name(
    name: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured) as refused:
        settings.load()
    assert reason in str(refused.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(Misconfigured) as refused:
        settings.load(write("[server]\nport = -1\nmax_batch = 0\n"))
    assert "server.port" in str(refused.value)
    assert "server.max_batch" in str(refused.value)


def test_given_event_weights_are_merged_over_the_defaults() -> None:
    weights = settings.load(write("[events.weights]\nnod = 0.5\nlike = 9\n")).events.weights
    assert (weights["nod"], weights["like"], weights["click"]) == (0.5, 9.0, 1.0)


def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDDYLINE_QDRANT__API_KEY", "hunter1")
    path = write(
        '[kafka.client]\n"sasl.password" = "hunter2"\n"ssl.key.password" = "hunter3"\n"sasl.mechanism" = "PLAIN"\n'
    )
    loaded = settings.load(path)
    shown = str(settings.effective(loaded))
    assert "hunter" not in shown
    assert "PLAIN" in shown
    assert "hunter" not in repr(loaded.qdrant)
    assert loaded.qdrant.api_key is not None
    assert loaded.qdrant.api_key.get_secret_value() == "hunter1"


def test_of_the_options_of_a_library_only_what_is_known_to_be_harmless_is_shown() -> None:
    hidden = (
        "ssl.key.password",
        "ssl.keystore.passphrase",
        "sasl.username",
        "ssl.key.pem",
        "plugin.own.option",
        "token",
    )
    shown = ("security.protocol", "sasl.mechanism", "ssl.ca.location", "session.timeout.ms", "client.id")
    given = "".join(f'"{name}" = "value of {name}"\n' for name in (*hidden, *shown))
    client = settings.effective(settings.load(write(f"[kafka.client]\n{given}")))["kafka"]["client"]
    assert {name for name, value in client.items() if value == "**********"} == set(hidden)
    assert {name for name, value in client.items() if value == f"value of {name}"} == set(shown)


@pytest.mark.parametrize(
    "text",
    [
        '[qdrant]\nurl = "http://eddy:hunter2@qdrant:6333"\n',
        '[qdrant]\nurl = "https://hunter2@qdrant"\n',
        '[encoder]\nkind = "http"\nurl = "http://eddy:hun@ter2@encoder/v1"\n',
        '[encoder]\nkind = "http"\nurl = "//eddy:hunter2@encoder/v1"\n',
        "api_key = 481516\n",
        '[identity]\nsecret = "hunter2"\n',
        '[encoder]\nserving_key = ["hunter2"]\n',
        'qdrant = "hunter2"\n',
        '[qdrant]\npassword = "hunter2"\n',
        '[kafka.client]\n"own.passphrase" = 481516\n',
        '[server]\ncors_origins = "https://eddy:hunter2@shop.example"\n',
    ],
)
def test_a_wrong_secret_is_not_shown_where_it_is_refused(text: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        settings.load(write(text))
    assert "hunter" not in str(refused.value)
    assert "ter2" not in str(refused.value)
    assert "481516" not in str(refused.value)


def test_a_wrong_value_that_is_no_secret_is_shown() -> None:
    with pytest.raises(Misconfigured, match=r"server\.port: .+ \(it is 'many'\)"):
        settings.load(write('[server]\nport = "many"\n'))


def test_passwords_in_addresses_are_masked_wherever_settings_are_printed() -> None:
    shown = str(settings.effective(settings.load(write('timezone = "http://eddy:hunter2@x"\n'))))
    assert "hunter2" not in shown
    assert "http://***@x" in shown
    assert settings.mask_credentials("see http://a:b@c/d?e@f and e@mail") == "see http://***@c/d?e@f and e@mail"


def test_every_setting_is_described() -> None:
    for path, variable, _, description in settings.describe():
        assert description, path
        assert variable == "EDDYLINE_" + path.replace(".", "__").upper()


@pytest.mark.parametrize("name", ["acks", "request.required.acks", "enable.idempotence"])
def test_what_delivery_rests_on_cannot_be_set(name: str) -> None:
    with pytest.raises(Misconfigured, match=f"{name} can't be set") as refused:
        settings.load(write(f'[kafka.client]\n"{name}" = "0"\n'))
    assert "kafka.client" in str(refused.value)


def test_a_wrong_secret_is_refused_without_being_shown() -> None:
    path = write('[qdrant]\napi_key = 481516\n[kafka.client]\n"sasl.password" = 2342\n')
    with pytest.raises(Misconfigured) as refused:
        settings.load(path)
    assert "qdrant.api_key" in str(refused.value)
    assert "kafka.client.sasl.password" in str(refused.value)
    assert "481516" not in str(refused.value)
    assert "2342" not in str(refused.value)


@pytest.mark.parametrize(
    "name",
    ["sasl.password", "ssl.key.pem", "sasl.oauthbearer.client.secret", "sasl.oauthbearer.config", "SASL.PASSWORD"],
)
def test_whatever_is_secret_among_kafkas_own_settings_is_masked(name: str) -> None:
    shown = settings.effective(settings.load(write(f'[kafka.client]\n"{name}" = "hunter2"\n')))
    assert shown["kafka"]["client"] == {name: "**********"}


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="can't be read"):
        settings.load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"data_dir = '\xff'")
    with pytest.raises(Misconfigured, match="not valid TOML"):
        settings.load(tmp_path / "latin.toml")


def test_one_weight_of_the_environment_goes_over_those_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("[events.weights]\nclick = 2\nnod = 1\n")
    monkeypatch.setenv("EDDYLINE_EVENTS__WEIGHTS__CLICK", "7")
    weights = settings.load(path).events.weights
    assert (weights["click"], weights["nod"], weights["like"]) == (7.0, 1.0, 3.0)


def test_an_attribute_cannot_take_the_name_of_what_every_item_has() -> None:
    with pytest.raises(Misconfigured, match=r"attributes: .*'price'"):
        settings.load(write('[attributes]\nprice = "keyword"\n'))


def test_every_built_in_filter_is_a_name_that_attributes_cannot_take() -> None:
    assert set(BUILT_IN) == settings.BUILT_IN_FILTERS


def test_a_built_in_strategy_keeps_what_is_not_given_and_a_new_one_begins_with_nothing() -> None:
    loaded = settings.load(write("[strategies.eddyline]\ntaste = 0.5\n[strategies.mine]\nfreshness = 2\n")).strategies
    default = settings.STRATEGIES["eddyline"]
    assert loaded["eddyline"] == default.model_copy(update={"taste": 0.5})
    assert loaded["mine"].weights(session_activity=1.0) == {
        name: 2.0 if name == "freshness" else 0.0 for name in settings.TERMS
    }
    assert loaded["content"] == settings.STRATEGIES["content"]


def test_the_table_of_settings_names_the_strategies_and_leaves_their_weights_to_their_own() -> None:
    shown = {path: default for path, _, default, _ in settings.describe()}
    assert shown["strategies"] == "{" + ", ".join(settings.STRATEGIES) + "}"
