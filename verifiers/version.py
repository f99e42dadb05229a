"""Which version of a verifier is which: a fingerprint of its weights and settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path

from mull.verifiers.config import VerifierConfig, models_of

CHUNK = 1 << 22


def version_of(config: VerifierConfig, folders: Mapping[str, str] | None = None) -> str:
    """A digest of the settings and, where the model is a folder, of its weights and `config.json`.

    Where the folder lies makes no difference. It reads all weights, which takes a second a gigabyte.

    Args:
        config: The verifier.
        folders: Where models lie that the verifier names as running engines.
    """
    digest = blake2b(digest_size=8)
    places = {"model", "reference"}
    digest.update(config.model_dump_json(exclude=places).encode())
    for model in models_of(config):
        folder = Path((folders or {}).get(model, model))
        if not folder.is_dir():
            digest.update(model.encode())
        for chunk in _content(folder):
            digest.update(chunk)
    return digest.hexdigest()


def _content(folder: Path) -> Iterator[bytes]:
    files = [
        *folder.glob("config.json"),
        *sorted(folder.glob("*.safetensors")),
        *sorted(folder.glob("*.bin")),
    ]
    for path in files:
        yield path.name.encode()
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
