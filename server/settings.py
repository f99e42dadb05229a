"""The server's configuration: one TOML file, overridden by the environment."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from mull.errors import MullError, one_of
from mull.form import CallStyle, Thoughts
from mull.retrieval.config import RetrieverConfig
from mull.server import calibration, keyfile
from mull.server.errors import Several, problems
from mull.server.schemas import BudgetRequest, Effort
from mull.strategies.registry import STRATEGIES
from mull.types import VerifierKind
from mull.verifiers.config import VerifierConfig

BUNDLED = Path(__file__).resolve().parent.parent / "models"
"""The small models that come with mull."""

ORIGIN = re.compile(r"https?://[\w.-]+(:\d+)?|\*", re.ASCII)
HOST = re.compile(r"(\*\.)?[\w.-]+", re.ASCII)

Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^+\s]+$")]


class ConfigurationError(MullError):
    """The configuration is wrong; the message names the first field that is, `problems` all."""

    code = "configuration_error"

    def __init__(self, *problems: str) -> None:
        super().__init__(problems[0])
        self.problems = problems


class Part(BaseModel):
    """A section of the configuration: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ReasoningSettings(Part):
    """How a model marks what it thinks before it answers."""

    open: str = Field("<think>", min_length=1, max_length=64)
    close: str = Field("</think>", min_length=1, max_length=64)
    opened: bool = Field(False, description="Whether the chat template opens the thought already.")


Address = Annotated[str, Field(pattern=r"^https?://")]


class ModelSettings(Part):
    """A served model: a folder or Hugging Face name that vLLM loads here, or servers that have it."""

    path: str | None = None
    replicas: int = Field(1, ge=1, le=64, description="Engines of `path`.")
    url: Address | None = None
    urls: list[Address] = Field(default_factory=list, description="Several servers that have it.")
    urls_file: Path | None = Field(
        None, description="File with one address a line, read every second: servers come and go."
    )
    discover: bool = Field(
        False, description="Whether each address that the host of `url` resolves to is a server that has it."
    )
    served_as: str | None = Field(None, description="The model's name at its servers; ours by default.")
    api_key_env: str | None = Field(None, description="Environment variable with the key for its servers.")
    context: int | None = Field(None, ge=16, description="Longest prompt plus completion, in tokens.")
    options: dict[str, Any] = Field(default_factory=dict, description="Arguments of vLLM's AsyncEngineArgs.")
    reasoning: Literal["think"] | ReasoningSettings | None = Field(
        None, description="How the model marks its thoughts; think: as <think>...</think>."
    )
    tool_parser: CallStyle | None = Field(None, description="How the model writes tool calls.")
    images: bool = Field(False, description="Whether the model at `url` takes images.")
    image_hosts: list[str] = Field(
        default_factory=list,
        description="Hosts from which its server may fetch images; by default they come as data: URLs only.",
    )

    @property
    def servers(self) -> list[str]:
        """The addresses that are named here."""
        return self.urls or ([] if self.url is None else [self.url])

    @property
    def thoughts(self) -> Thoughts | None:
        """How the model marks its thoughts."""
        if self.reasoning is None or self.reasoning == "think":
            return None if self.reasoning is None else Thoughts()
        return Thoughts(**self.reasoning.model_dump())

    @model_validator(mode="after")
    def _one_place(self) -> ModelSettings:
        if [bool(place) for place in (self.path, self.url, self.urls, self.urls_file)].count(True) != 1:
            raise ValueError("give one of path, url, urls and urls_file")
        if self.path is not None and (self.served_as or self.api_key_env):
            raise ValueError("served_as and api_key_env only go with url, urls or urls_file")
        if self.path is None and (self.options or self.replicas > 1):
            raise ValueError("options and replicas only go with path")
        if self.path is not None and self.images:
            raise ValueError("images only go with url, urls or urls_file")
        if self.discover and not (self.url or "").startswith("http://"):
            raise ValueError("discover only goes with a url of http://: certificates are of names")
        if len({url.rstrip("/").removesuffix("/v1") for url in self.urls}) < len(self.urls):
            raise ValueError("urls: each address once")
        return self


class Preset(Part):
    """A strategy with its parameters under a name of its own."""

    strategy: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    verifier: str | None = None
    budget: BudgetRequest = Field(default_factory=BudgetRequest)


class Defaults(Preset):
    """What a request gets that chooses nothing."""

    strategy: str = "single"
    verifiers: dict[VerifierKind, str] = Field(
        default_factory=dict, description="Which verifier serves a strategy that needs this kind."
    )


class MaxLimits(Part):
    """What one request may ask for at most."""

    n: int = Field(128, ge=1, le=1024, description="Choices.")
    prompts: int = Field(128, ge=1, le=4096, description="Prompts of one request to /v1/completions.")
    tokens: int | None = Field(
        None, ge=1, description="Budget of generated tokens, also when none is asked for."
    )
    seconds: float | None = Field(None, gt=0, description="Budget of seconds, also when none is asked for.")
    samples: int | None = Field(None, ge=1, description="Budget of generations, also when none is asked for.")
    request_bytes: int = Field(4 * 2**20, ge=1024)
    nesting: int = Field(32, ge=4, le=128, description="Levels of nested JSON in a request.")


class StoreSettings(Part):
    """What several servers share: see `mull.server.storage`."""

    url: SecretStr | None = Field(
        None,
        description="PostgreSQL database (postgresql://...) of traces, files, batches; none: their folders.",
    )
    traces: bool = Field(True, description="Keep finished requests there.")
    lease: float = Field(
        30.0, ge=1, description="Seconds after which others take over the batches of a server that died."
    )

    @model_validator(mode="before")
    @classmethod
    def _a_section(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            raise ValueError("it is a section with a url")  # what is given may hold a password
        return data

    @field_validator("url", mode="before")
    @classmethod
    def _reachable(cls, url: Any) -> Any:
        if url is None or isinstance(url, SecretStr):
            return url
        if not isinstance(url, str) or not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("it has to begin with postgresql://")
        try:
            from psycopg.conninfo import conninfo_to_dict
        except ImportError:
            raise ValueError("it needs psycopg: pip install 'mull[postgres]'") from None
        try:
            parts = conninfo_to_dict(url)
        except Exception:
            parts = {"port": "none"}
        # A password with / or @ in it would be taken for a port, host or database, and told in errors.
        named = f"{parts.get('host', '')}{parts.get('dbname', '')}"
        if not re.fullmatch(r"[\d,]*", str(parts.get("port", "")), re.ASCII) or "@" in named:
            raise ValueError(
                "it is no URL that PostgreSQL understands; a password's special characters are written as %XX"
            )
        return url


class TraceSettings(Part):
    """What is kept of finished requests, to learn from: see `mull.server.traces`."""

    dir: Path | None = Field(
        None, description="Folder of the traces, of this server alone; none: nothing is kept."
    )
    max_count: int = Field(10_000, ge=1, description="Traces kept.")
    max_age_days: float = Field(30.0, gt=0, description="Days that a trace is kept.")
    text: bool = Field(True, description="Keep prompts, answers and references, not figures alone.")


class TLSSettings(Part):
    """HTTPS, where no proxy does it."""

    certificate: Path = Field(description="The server's certificate and what leads to its root, as PEM.")
    key: Path = Field(description="Its private key, as PEM, without a password.")
    client_ca: Path | None = Field(
        None, description="Certificates (PEM) by which clients must be certified; none: clients need none."
    )

    @field_validator("certificate", "key", "client_ca")
    @classmethod
    def _there(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise ValueError(f"there is no file {str(path)!r}")
        return path


class DegradeSettings(Part):
    """Smaller budgets under pressure."""

    above: float = Field(
        1.0, gt=0, description="Load of a level: what runs and waits, as parts of `running`."
    )
    factor: float = Field(0.5, gt=0, lt=1, description="What is left of a budget with each level.")
    levels: int = Field(2, ge=1, le=10, description="Levels, at most.")


class TelemetrySettings(Part):
    """OpenTelemetry: see `mull.server.tracing`."""

    otlp_endpoint: str | None = Field(
        None,
        pattern=r"^https?://",
        description="Collector that takes OTLP over HTTP, `/v1/traces` left out; none: no spans.",
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _installed(cls, endpoint: str | None) -> str | None:
        if endpoint is not None:
            try:
                version("opentelemetry-exporter-otlp-proto-http")
            except PackageNotFoundError:
                raise ValueError("spans need OpenTelemetry: pip install 'mull[otel]'") from None
        return endpoint


class AdmissionSettings(Part):
    """How much is done at a time: see `mull.server.queueing`."""

    running: int = Field(
        256, ge=1, description="Generations that the requests which are solved at a time may have in flight."
    )
    queued: int = Field(1000, ge=0, description="Requests that wait for their turn, at most.")
    seconds: float = Field(60.0, gt=0, description="Seconds that a request waits for its turn, at most.")
    degrade: DegradeSettings | None = Field(None, description="Smaller budgets under pressure.")


class ResponseSettings(Part):
    """What is kept of answers to /v1/responses, in memory, so that `previous_response_id` can name them."""

    max_count: int = Field(1000, ge=0, description="Responses kept; 0 keeps none.")
    max_age_hours: float = Field(24.0, gt=0, description="Hours that a response is kept.")
    max_bytes: int = Field(256 * 2**20, ge=0, description="Bytes of all of them, about.")


class BatchSettings(Part):
    """Files and batches: see `mull.server.batches`."""

    dir: Path | None = Field(
        None, description="Folder of files and batches, of this server alone; none: there are none."
    )
    concurrency: int = Field(8, ge=1, description="Requests of batches that are under way at a time.")
    pause_at: int = Field(
        4, ge=1, description="Interactive requests running at which no request of a batch is begun."
    )
    file_bytes: int = Field(200 * 2**20, ge=1024, description="Size of one uploaded file.")
    total_bytes: int = Field(10 * 2**30, ge=1024, description="Size of all files, above which none is taken.")
    max_requests: int = Field(50_000, ge=1, description="Requests in one batch.")
    max_age_days: float = Field(30.0, gt=0, description="Days that files and finished batches are kept.")


BUNDLE: dict[str, Any] = {
    "models": {
        "mull-tiny": {
            "path": str(BUNDLED / "policy"),
            # Where a grammar allows white space, so small a model writes nothing else.
            "options": {"structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True}},
        }
    },
    "verifiers": {
        # Its card says how it compares with the heads in models/orm and models/prm, which it beats by far.
        "solver": {
            "kind": "likelihood",
            "model": str(BUNDLED / "solver"),
            "reduce": "min",
            # A step whose least likely token has probability .2 scores one half.
            "temperature": 2.32,
        },
    },
    "defaults": {"strategy": "single", "verifiers": {"outcome": "solver", "process": "solver"}},
    "presets": {
        "quick": {"strategy": "majority_vote", "parameters": {"n": 8}},
        "balanced": {"strategy": "best_of_n", "parameters": {"n": 16}},
        "careful": {"strategy": "beam_search", "parameters": {"width": 4, "expand": 4, "prune": 0.3}},
        "thorough": {"strategy": "beam_search", "parameters": {"width": 8, "expand": 8}},
    },
    "efforts": {
        "none": "single",
        "minimal": "single",
        "low": "quick",
        "medium": "balanced",
        "high": "careful",
        "xhigh": "thorough",
    },
    # It takes the place of low to xhigh: `mull calibrate --signal score` on 300 problems of stream 900002.
    "calibration": str(BUNDLED / "calibration.json"),
}
"""What is served when the configuration names no models."""


class Settings(BaseSettings):
    """Everything the server can be told. `MULL_PORT=9000` or `MULL_LIMITS__N=8` override the file."""

    model_config = SettingsConfigDict(
        env_prefix="MULL_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )
    file: ClassVar[Path | None] = None

    host: str = "0.0.0.0"
    port: int = Field(8000, ge=0, le=65535)
    models: dict[Name, ModelSettings] = Field(min_length=1)
    verifiers: dict[Name, VerifierConfig] = Field(default_factory=dict)
    retrievers: dict[Name, RetrieverConfig] = Field(
        default_factory=dict, description="What strategies that retrieve search."
    )
    defaults: Defaults = Field(default_factory=Defaults)
    presets: dict[Name, Preset] = Field(default_factory=dict)
    efforts: dict[Effort, str] = Field(
        default_factory=dict, description="What `reasoning_effort` means: a preset or a strategy."
    )
    calibration: Path | None = Field(
        None,
        description="Policy that `mull calibrate` wrote: presets, and efforts where none are set here.",
    )
    fallback: Literal["none", "majority_vote"] = Field(
        "none", description="What answers when a verifier is down, instead of a 503."
    )
    limits: MaxLimits = Field(default_factory=MaxLimits)
    api_keys: list[SecretStr] = Field(
        default_factory=list, description="Accepted bearer tokens; none, and no keys_file: open to all."
    )
    keys_file: Path | None = Field(
        None, description="More keys, as digests with names and limits: what `mull keys` wrote."
    )
    admin_key_env: str = Field(
        "MULL_ADMIN_KEY",
        min_length=1,
        description="Environment variable with the key of administrators; not set: their routes are closed.",
    )
    tls: TLSSettings | None = Field(None, description="HTTPS; by default plain HTTP is served.")
    cors_origins: list[str] = Field(
        default_factory=list,
        description="Origins (https://example.org) whose pages may use the API; none: only the page at /ui.",
    )
    hosts: list[str] = Field(
        default_factory=list,
        description="Names (or *.example.org) that requests may ask for; none: any.",
    )
    admission: AdmissionSettings = Field(default_factory=AdmissionSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    traces: TraceSettings = Field(default_factory=TraceSettings)
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)
    batches: BatchSettings = Field(default_factory=BatchSettings)
    responses: ResponseSettings = Field(default_factory=ResponseSettings)
    bench_dir: Path | None = Field(
        None, description="What `mull bench --out` wrote, or a folder of such folders: shown by the page."
    )
    verifier_dirs: list[Path] = Field(
        default_factory=list,
        description="Where verifiers may be reloaded from; by default beside the configured model.",
    )
    verifiers_check: Path | None = Field(
        None, description="Labelled rows (JSON Lines) on which a new verifier is held against the old one."
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    heartbeat: float = Field(5.0, gt=0, description="Seconds between signs of life in a silent stream.")
    drain: int = Field(
        5,
        ge=0,
        description="Seconds that running requests go on at shutdown.",
    )

    @field_validator("cors_origins", "hosts")
    @classmethod
    def _sites(cls, names: list[str], info: ValidationInfo) -> list[str]:
        shape = ORIGIN if info.field_name == "cors_origins" else HOST
        for name in names:
            if not shape.fullmatch(name):
                what = "an origin (https://example.org)" if shape is ORIGIN else "a host (*.example.org)"
                raise ValueError(f"{name!r:.80} is not {what}")
        return names

    @model_validator(mode="before")
    @classmethod
    def _bundle(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        standard = {} if "models" in data else BUNDLE
        own = "presets" in data or "efforts" in data
        path = data.get("calibration", None if own else standard.get("calibration"))
        if isinstance(path, str | Path):
            data = calibration.merged(data, calibration.read(Path(path)), standard)
        elif standard and "presets" in data and "efforts" not in data:
            # The bundle's efforts name the bundle's presets.
            data = {**data, "presets": {**standard["presets"], **data["presets"]}}
        return {**standard, **({"calibration": None} if own else {}), **data}

    @property
    def keyed(self) -> bool:
        """Whether users have keys, so that they can be told apart."""
        return bool(self.api_keys) or self.keys_file is not None

    @field_validator("keys_file")
    @classmethod
    def _keys(cls, path: Path | None) -> Path | None:
        if path is not None:
            try:
                keyfile.read(path)
            except keyfile.KeyFileError as error:
                raise ValueError(error.message.removeprefix("keys_file: ")) from None
        return path

    @model_validator(mode="after")
    def _names_exist(self) -> Settings:
        if wrong := list(self._wrong_names()):
            raise Several(wrong)
        return self

    def _wrong_names(self) -> Iterator[str]:
        """What names something that there is not, or gives it parameters that it does not take."""
        for where, preset in {"defaults": self.defaults, **self.presets}.items():
            where = where if where == "defaults" else f"presets.{where}"
            if preset.strategy not in STRATEGIES.names():
                known = one_of(STRATEGIES.names())
                yield f"{where}.strategy: unknown strategy {preset.strategy!r}; known are {known}"
            else:
                strategy = STRATEGIES.get(preset.strategy)
                try:
                    strategy.model_validate(preset.parameters, strict=True)
                except ValidationError as error:
                    found = problems(error, strategy, prefix=f"{where}.parameters.")
                    yield from (problem.message for problem in found)
            yield from self._wrong_verifier(f"{where}.verifier", preset.verifier)
        for kind, name in self.defaults.verifiers.items():
            yield from self._wrong_verifier(f"defaults.verifiers.{kind}", name)
        aliases = {*self.presets, *STRATEGIES.names()}
        for both in sorted(set(self.presets) & set(STRATEGIES.names())):
            yield f"presets.{both}: a strategy has this name already"
        for effort, alias in self.efforts.items():
            if alias not in aliases:
                yield f"efforts.{effort}: unknown preset {alias!r}; known are {one_of(aliases)}"

    def _wrong_verifier(self, where: str, name: str | None) -> Iterator[str]:
        if name is not None and name not in self.verifiers:
            yield f"{where}: unknown verifier {name!r}; known are {one_of(self.verifiers)}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, which wins over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, cls.file)


def load(config: str | Path | None = None, **overrides: Any) -> Settings:
    """Read the configuration.

    Args:
        config: The TOML file; `MULL_CONFIG` when None, and no file when that is not set either.
        overrides: Fields that win over the file and the environment (from the command line).

    Raises:
        ConfigurationError: naming the field that is wrong, or the file that cannot be read.
    """
    chosen = config or os.environ.get("MULL_CONFIG")
    if chosen is not None and not Path(chosen).is_file():
        raise ConfigurationError(f"there is no configuration file {str(chosen)!r}")
    read: dict[str, Any] = {}

    class FromFile(Settings):
        file = None if chosen is None else Path(chosen)

        @model_validator(mode="before")
        @classmethod
        def _keep(cls, data: Any) -> Any:
            read.update(data)
            return data

    try:
        return FromFile(**overrides)
    except ValidationError as error:
        found = [problem.message for problem in problems(error, Settings)]
        raise ConfigurationError(*found, *_beyond(error, read)) from None
    except ValueError as error:
        raise ConfigurationError(f"{chosen or 'the environment'}: {error}") from None


def _beyond(error: ValidationError, data: Mapping[str, Any]) -> Iterator[str]:
    """Wrong names, which are looked for once all fields are sound: without the fields that are not."""
    rest = copy.deepcopy(dict(data))
    while all(_drop(rest, each["loc"], each["type"]) for each in error.errors(include_url=False)):
        try:
            Settings(**rest)
            return
        except ValidationError as more:
            error = more
        except ValueError:
            return
        if [each["loc"] for each in error.errors(include_url=False)] == [()]:
            yield from (problem.message for problem in problems(error, Settings))
            return


def _drop(data: dict[str, Any], loc: tuple[int | str, ...], kind: str) -> bool:
    """Take out what is wrong, unless others may name it."""
    # pydantic's location also says which member of a union it tried; the data does not.
    holders: list[tuple[dict[str, Any], str]] = []
    place: Any = data
    for part in loc:
        if isinstance(place, dict) and part in place:
            holders.append((place, str(part)))
            place = place[part]
    if not holders or kind == "missing" or (len(holders) == 2 and loc[0] in ("presets", "verifiers")):
        return False
    holder, key = holders[-1]
    del holder[key]
    return True
