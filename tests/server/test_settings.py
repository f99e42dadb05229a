"""The configuration file, the environment, and errors that name the field."""

from __future__ import annotations

from pathlib import Path

import pytest

from mull.server.settings import ConfigurationError, load

FULL = """
port = 9001
fallback = "majority_vote"
api_keys = ["sesame"]

[models.big]
url = "http://gpu:8000/v1"
served_as = "Qwen/Qwen3-8B"
api_key_env = "BIG_KEY"

[models.small]
path = "somewhere/small"
context = 512
options = {max_num_seqs = 8}

[verifiers.judge]
kind = "prm"
model = "somewhere/prm"

[retrievers.handbook]
kind = "bm25"
path = "handbook.jsonl"

[defaults]
strategy = "best_of_n"
parameters = {n = 4}
verifiers = {process = "judge"}

[presets.careful]
strategy = "beam_search"
parameters = {width = 8}
budget = {tokens = 1000}
verifier = "judge"

[efforts]
high = "careful"

[limits]
n = 8
"""


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MULL_CONFIG", "MULL_PORT", "MULL_LIMITS__N"):
        monkeypatch.delenv(name, raising=False)


def write(folder: Path, text: str) -> Path:
    path = folder / "mull.toml"
    path.write_text(text)
    return path


def test_without_a_file_the_bundled_models_are_served() -> None:
    settings = load()
    assert list(settings.models) == ["mull-tiny"]
    assert list(settings.verifiers) == ["solver"]
    assert settings.defaults.strategy == "single"
    assert settings.port == 8000


def test_a_full_file(tmp_path: Path) -> None:
    settings = load(write(tmp_path, FULL))
    assert settings.port == 9001
    assert settings.models["big"].served_as == "Qwen/Qwen3-8B"
    assert settings.models["small"].options == {"max_num_seqs": 8}
    assert settings.retrievers["handbook"].kind == "bm25"
    assert settings.presets["careful"].budget.tokens == 1000
    assert settings.efforts == {"high": "careful"}
    assert settings.limits.n == 8
    assert "sesame" not in repr(settings)


def test_the_file_can_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULL_CONFIG", str(write(tmp_path, "port = 9002")))
    assert load().port == 9002


def test_arguments_win_over_the_environment_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "port = 9001\n[limits]\nn = 8\ntokens = 99")
    monkeypatch.setenv("MULL_PORT", "9002")
    monkeypatch.setenv("MULL_LIMITS__N", "4")
    assert load(path).port == 9002
    assert load(path, port=9003).port == 9003
    assert (load(path).limits.n, load(path).limits.tokens) == (4, 99)


def test_own_models_come_without_bundled_verifiers_and_presets(tmp_path: Path) -> None:
    settings = load(write(tmp_path, '[models.own]\npath = "x"'))
    assert list(settings.models) == ["own"]
    assert not settings.verifiers
    assert not settings.presets
    assert not settings.efforts


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("prot = 1", "prot"),
        ("[limits]\nm = 1", "limits.m"),
        ("port = 99999", "port"),
        ('port = "http"', "port"),
        ("[models.a]\n", "models.a"),
        ('[models.a]\npath = "x"\nurl = "http://y"', "models.a"),
        ('[models.a]\npath = "x"\nserved_as = "y"', "models.a"),
        ('[models.a]\nurl = "ftp://y"', "models.a.url must be a string that matches ^https?://"),
        ('[models."a+b"]\npath = "x"', "a key of models must be a non-empty string"),
        ("[models]", "models must be a non-empty object"),
        ('[defaults]\nstrategy = "alchemy"', "defaults.strategy"),
        ('[defaults]\nstrategy = "best_of_n"\nparameters = {n = 0}', "defaults.parameters.n"),
        ('[defaults]\nverifiers = {process = "oracle"}', "defaults.verifiers.process"),
        ('[presets.x]\nstrategy = "best_of_n"\nverifier = "oracle"', "presets.x.verifier"),
        ('[presets.x]\nstrategy = "best_of_n"\nparameters = {m = 1}', "presets.x.parameters.m"),
        ('[presets.single]\nstrategy = "best_of_n"', "presets.single"),
        ('[efforts]\nhigh = "nothing"', "efforts.high"),
        ('[efforts]\nextreme = "single"', "a key of efforts must be one of 'high', 'low'"),
        ("heartbeat = 0", "heartbeat"),
        (
            '[verifiers.a]\nkind = "prm"\nmodel = "x"\nfoo = 1',
            "'verifiers.a.foo'; allowed in verifiers.a: aggr",
        ),
        ('[verifiers.a]\nkind = "prm"', "verifiers.a.model is required"),
        ('[verifiers.a]\nkind = "oracle"', "verifiers.a"),
        ('[verifiers.a]\nkind = "remote"\nurls = ["x"]\njudges = "outcome"', "verifiers.a.urls[0]"),
        ('[verifiers.a]\nkind = "composite"\nof = []', "verifiers.a.of"),
        ('[retrievers.a]\nkind = "bm25"', "retrievers.a.path is required"),
        ('[retrievers.a]\nkind = "bm25"\npath = "x"\nfoo = 1', "'retrievers.a.foo'"),
        ('[retrievers.a]\nkind = "grep"', "retrievers.a"),
        ('[retrievers."a b"]\nkind = "bm25"\npath = "x"', "a key of retrievers"),
        ('fallback = "guess"', "fallback"),
        ("port = ", "mull.toml"),
    ],
)
def test_errors_name_the_field(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(write(tmp_path, text))
    assert named in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml"):
        load(tmp_path / "nowhere.toml")
