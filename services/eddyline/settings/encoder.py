"""Where and how texts become vectors, and the text that stands for an item."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from eddyline.settings.redaction import refuse_credentials
from eddyline.settings.section import Count, Positive, Section

TEMPLATE_FIELDS = ("title", "description", "category", "tags", "language")
"""What an item has that can be embedded, beside `attributes.<name>`."""
TEMPLATE_LABELS = {"category": "Category", "tags": "Tags"}
MOST_REPEATS = 20


class TemplateSettings(Section):
    """The text that stands for an item. Changing it means re-embedding every item."""

    fields: Annotated[tuple[str, ...], Field(min_length=1)] = ("title", "description", "category", "tags")
    """Fields that are embedded, in this order: title, description, category, tags, language, attributes.NAME."""
    labels: Mapping[str, str] = TEMPLATE_LABELS
    """Label of each field, put before it with a colon; an empty one for none. Merged over the defaults."""
    weights: Mapping[str, Positive] = {}
    """How much each field counts, e.g. {title = 2}; 1 unless it is set."""
    mode: Literal["repeat", "average"] = "repeat"
    """`repeat`: one text, in which a field stands as often as its weight says. `average`: each field is embedded alone,
    and their vectors are averaged by weight."""

    @field_validator("labels", mode="before")
    @classmethod
    def _merge(cls, value: Any) -> Any:
        return {**TEMPLATE_LABELS, **value} if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _names_fields(self) -> TemplateSettings:
        for name in (*self.fields, *self.labels):
            if name not in TEMPLATE_FIELDS and not (name.startswith("attributes.") and len(name) > len("attributes.")):
                known = ", ".join(TEMPLATE_FIELDS)
                raise ValueError(f"there is no field {name!r}: there are {known}, and attributes.NAME")
        twice = sorted({name for name in self.fields if self.fields.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is named more than once: give it a weight instead")
        for name, weight in self.weights.items():
            if name not in self.fields:
                raise ValueError(f"{name!r} has a weight, but is not one of the fields: {', '.join(self.fields)}")
            if self.mode == "repeat" and (weight != int(weight) or weight > MOST_REPEATS):
                raise ValueError(
                    f"{name!r} can't stand {weight:g} times in a text: take a whole number up to {MOST_REPEATS}, or "
                    'mode = "average"'
                )
        return self


class EncoderSettings(Section):
    """The text encoder. Changing the model means embedding every item again."""

    kind: Literal["local", "openai", "http"] = "local"
    """Where texts become vectors: `local`, in this process, by sentence-transformers; `openai`, at an endpoint that
    speaks OpenAI's embeddings API; `http`, in another process: `eddyline encoder` or one of your own."""
    model: str = "packaged"
    """`packaged` (all-MiniLM-L6-v2, from the package index), or any sentence-transformers model by name or path,
    e.g. sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2 for fifty languages. For `openai`, what the
    endpoint calls it, e.g. text-embedding-3-small."""
    device: str = "cpu"
    """Torch device."""
    batch_size: Count = 32
    """Texts encoded at once."""
    backend: Literal["torch", "onnx"] = "torch"
    """What runs a sentence-transformers model; `onnx` is ONNX Runtime, from the extra `eddyline[onnx]`."""
    precision: Literal["fp32", "int8"] = "fp32"
    """Precision of the model's weights; `int8` is for `onnx`, and is a space of its own."""
    long_text: Literal["pool", "cut"] = "pool"
    """What to do with a text longer than the model reads: `pool` reads it in overlapping windows and averages their
    vectors, `cut` reads only its beginning. Changing it means re-embedding every item."""
    long_text_windows: Count = 16
    """Most windows of a text; what comes after them isn't read. Changing it means re-embedding every item."""
    distance: Literal["cosine", "dot", "euclid"] = "cosine"
    """How vectors are compared: `cosine` by direction; `dot` and `euclid` for models that were trained for them, whose
    vectors keep their length. Changing it means re-embedding every item."""
    detect_language: bool = True
    """Detect the language of items that don't name theirs, so that they can be filtered by it."""
    template: TemplateSettings = TemplateSettings()
    url: str = ""
    """URL of the endpoint, e.g. https://api.openai.com/v1, or of the other process, e.g. http://encoder:8000."""
    api_key: SecretStr | None = None
    """Sent as a bearer token. Give it by the environment: EDDYLINE_ENCODER__API_KEY."""
    serving_key: SecretStr | None = None
    """What others must send to `eddyline encoder` as a bearer token: their `api_key`. A key with the scope `operate`
    will do as well."""
    dimensions: Count | None = None
    """Length of the vectors to ask an `openai` endpoint for, where the model can shorten them."""
    timeout_seconds: Positive = 30.0
    """A request to another process that takes longer is retried."""
    attempts: Count = 3
    """Most attempts at a batch before the encoder counts as unavailable; consumers of content go on trying."""
    cache_entries: Annotated[int, Field(ge=0)] = 100_000
    """Most vectors of an `openai` endpoint to keep on disk, by text, so that nothing is paid for twice; 0: none."""
    cache_dir: Path = Path("~/.cache/eddyline/encoders")
    """Where cached vectors are kept, and a model that was exported to ONNX (which takes some seconds, once)."""

    @field_validator("url")
    @classmethod
    def _holds_no_credentials(cls, url: str) -> str:
        return refuse_credentials(url, "encoder.api_key (EDDYLINE_ENCODER__API_KEY)")

    @model_validator(mode="after")
    def _says_where(self) -> EncoderSettings:
        if self.kind != "local" and not self.url:
            raise ValueError(f"kind = {self.kind!r} needs url (EDDYLINE_ENCODER__URL)")
        if self.kind == "openai" and self.model == "packaged":
            raise ValueError("kind = 'openai' needs model: what the endpoint calls it, e.g. text-embedding-3-small")
        if self.dimensions is not None and self.kind != "openai":
            raise ValueError("dimensions is for kind = 'openai': elsewhere they come from the model")
        return self

    @model_validator(mode="after")
    def _runs_as_set(self) -> EncoderSettings:
        if self.precision == "int8" and self.backend == "torch":
            raise ValueError("precision 'int8' needs backend 'onnx': set encoder.backend, or precision to 'fp32'")
        if self.backend == "onnx" and self.device != "cpu":
            raise ValueError("backend 'onnx' runs on the CPU: set device to 'cpu', or encoder.backend to 'torch'")
        return self
