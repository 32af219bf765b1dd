"""A sentence-transformers model on ONNX Runtime: exported once, then loaded from a cache.

Nothing is downloaded, and nothing is written beside the original weights.
"""

from __future__ import annotations

import fcntl
import gc
import hashlib
import json
import logging
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog

from eddyline.errors import Misconfigured
from eddyline.settings import EncoderSettings

LIBRARIES = ("sentence-transformers", "optimum-onnx", "onnxruntime")
"""Whose versions decide what an export looks like."""
PROVIDER = "CPUExecutionProvider"

log = structlog.get_logger("encoder")


def load_onnx(source: str, weights: str, settings: EncoderSettings) -> Any:
    """The model of `source` (a name or path) as a `SentenceTransformer` on ONNX Runtime, in `settings.precision`.

    `weights` identifies it, and so its place in `settings.cache_dir`; it is exported where nothing is there yet.
    Raises `Misconfigured`: the extra is missing, the cache can't be written, or the model can't be exported or loaded.
    """
    try:
        import onnxruntime  # noqa: F401
        import optimum.onnxruntime  # noqa: F401
    except ImportError:
        raise Misconfigured("encoder.backend 'onnx' needs ONNX Runtime: pip install 'eddyline[onnx]'") from None
    folder = _exported(source, weights, settings)
    try:
        return _open(str(folder))
    except Exception as error:  # whatever foreign libraries make of a damaged export
        raise Misconfigured(f"the ONNX model in {folder} can't be loaded ({error}): delete that folder") from error


def model_fingerprint(model: Any, checksum: str) -> str:
    """Identifies a torch model of these weights by all that decides its vectors: tokenizer, layers, pooling, limit.

    Raises `Misconfigured` where it is no transformer.
    """
    transformer = model.transformers_model
    if transformer is None:
        raise Misconfigured("this model is no transformer, and has no ONNX form: set encoder.backend to 'torch'")
    vocabulary = json.dumps(sorted(model.tokenizer.get_vocab().items()))
    layers = str([layer.get_config_dict() if hasattr(layer, "get_config_dict") else "" for layer in model])
    limit = str(model.max_seq_length)
    parts = (checksum, transformer.config.to_json_string(), str(model), layers, limit, vocabulary)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _exported(source: str, weights: str, settings: EncoderSettings) -> Path:
    cache = settings.cache_dir.expanduser()
    versions = "-".join(version(library) for library in LIBRARIES)
    folder = cache / f"{weights[:32]}-onnx-{settings.precision}-{versions}"
    if folder.is_dir():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _export_lock(folder):
            if not folder.is_dir():  # another process may have made it while this one waited
                _export(source, settings.precision, folder)
    except OSError as error:
        raise Misconfigured(
            f"encoder.cache_dir {cache} can't be written ({error}): set it to a writable folder"
        ) from error
    return folder


@contextmanager
def _export_lock(folder: Path) -> Iterator[None]:
    """One process at a time exports to `folder`; what a killed one left is removed. The lock dies with its process."""
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.parent.glob(f".{folder.name}.part-*"):
            shutil.rmtree(left)
        yield


def _export(source: str, precision: str, folder: Path) -> None:
    """Write the whole export beside `folder`, then rename it: it's there in full or not at all."""
    log.info("exporting the model to ONNX, once", precision=precision, folder=str(folder))
    started = time.perf_counter()
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.part-", dir=folder.parent))
    try:
        with _silence():
            try:
                _open(source, export=True).save_pretrained(str(part))
                gc.collect()  # the library's temporary files go with its model
                if precision == "int8":
                    _quantize(part / "onnx" / "model.onnx")
            except OSError:
                raise
            except Exception as error:  # whatever foreign libraries make of a model without an ONNX form
                raise Misconfigured(
                    f"encoder.model {source!r} can't be exported to ONNX ({error}): set encoder.backend to 'torch'"
                ) from error
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    log.info("exported", seconds=round(time.perf_counter() - started, 1))


def _quantize(file: Path) -> None:
    """Weights as 8-bit integers, a scale a row; activations are quantized as they come.

    Seven bits are used of the eight, since CPUs without VNNI overflow on eight: so every machine makes the same
    vectors, and one space can be shared. (Without a scale a row those seven bits aren't enough.)
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    small = file.with_name("small.onnx")
    quantize_dynamic(file, small, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
    small.replace(file)


def _open(source: str, **options: Any) -> Any:
    import onnxruntime
    import torch
    from sentence_transformers import SentenceTransformer

    session = onnxruntime.SessionOptions()
    session.intra_op_num_threads = torch.get_num_threads()  # heeds OMP_NUM_THREADS
    session.inter_op_num_threads = 1
    # Threads that wait for work would else spin, and take the cores from Kafka's and the store's.
    session.add_session_config_entry("session.intra_op.allow_spinning", "0")
    kwargs = {"provider": PROVIDER, "session_options": session, **options}
    return SentenceTransformer(source, device="cpu", backend="onnx", model_kwargs=kwargs)


@contextmanager
def _silence() -> Iterator[None]:
    """Exporting warns of what tracing does and advises to save what is being saved."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
