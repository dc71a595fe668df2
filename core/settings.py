"""One typed tree of settings: configs/base.yaml < the file named by EKIBEN_CONFIG < EKIBEN_* variables < flags.

The classes hold names, types and bounds; the values stand in configs/base.yaml alone. Only `*/service.py` and `clients/` load settings.
"""

import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from core.errors import InvalidSettings
from core.schemas.fields import Setting

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
BASE_FILE = CONFIGS / "base.yaml"
PREFIX = "EKIBEN_"
CONFIG_VARIABLE = "EKIBEN_CONFIG"
URL_VARIABLE = "EKIBEN_URL"
_NO_SETTINGS = frozenset({CONFIG_VARIABLE, URL_VARIABLE})

Url = Annotated[str, Field(pattern=r"^https?://[^\s/]+")] | None
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
DType = Literal["float32", "bfloat16", "float16"]


class Section(BaseModel):
    """A branch of the tree."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class EmbedderSettings(Section):
    """The embedding service."""

    url: Url
    model: str
    next_model: str | None
    reranker: str | None
    device: Device
    dtype: DType | Literal["auto"]
    threads: Annotated[int, Field(ge=0, le=1024)]
    max_batch_items: Annotated[int, Field(ge=2, le=65_536)]
    max_batch_tokens: Annotated[int, Field(ge=0)]
    query_cache: Annotated[int, Field(ge=0, le=10_000_000)]
    timeout_s: Seconds


class RetrieverSettings(Section):
    """The store, its indexes and their fusion."""

    url: Url
    data_dir: Path
    candidates: Annotated[int, Field(ge=1, le=10_000)]
    fusion: Literal["convex", "rrf"]
    dense_weight: Annotated[float, Field(ge=0, le=1)]
    dense_weight_gain: Annotated[float, Field(ge=0, le=1)]
    rrf_k: Annotated[int, Field(ge=1)]
    exact_up_to: Annotated[int, Field(ge=0)]
    probes: Annotated[int, Field(ge=1)]
    compact_after: Annotated[int, Field(ge=1)]
    postings_mib: Annotated[int, Field(ge=0)]
    embed_timeout_s: Seconds
    rerank_candidates: Annotated[int, Field(ge=1, le=1_000)]
    rerank_timeout_s: Seconds
    timeout_s: Seconds


class GeneratorSettings(Section):
    """Summaries and answers."""

    url: Url
    backend: Literal["extractive", "seq2seq", "ctranslate2", "causal", "openai"]
    model: str | None
    prompts: str | None
    base_url: Url
    api_key: SecretStr | None
    device: Device
    dtype: DType | Literal["auto"]
    max_batch_items: Annotated[int, Field(ge=2, le=65_536)]
    max_batch_tokens: Annotated[int, Field(ge=64)]
    max_new_tokens: Annotated[int, Field(ge=1, le=8_192)]
    max_running: Annotated[int, Field(ge=1, le=4_096)]
    kv_tokens: Annotated[int, Field(ge=64)]
    context_tokens: Annotated[int, Field(ge=64)]
    max_retries: Annotated[int, Field(ge=0, le=10)]
    connect_timeout_s: Seconds
    cache_dir: Path
    mmr_lambda: Annotated[float, Field(ge=0, le=1)]
    vector_cache_bytes: Annotated[int, Field(ge=0)]
    timeout_s: Seconds


class GatewaySettings(Section):
    """The HTTP border."""

    host: str
    port: Annotated[int, Field(ge=1, le=65_535)]
    max_concurrency: Annotated[int, Field(ge=1)]
    max_body_bytes: Annotated[int, Field(ge=1_024)]
    timeout_s: Seconds


class AnsweringSettings(Section):
    """The journey from question to answer."""

    retrieve_timeout_s: Seconds
    summary_timeout_s: Seconds
    compose_timeout_s: Seconds
    answer_timeout_s: Seconds
    summary_sentences: Annotated[int, Field(ge=1, le=20)]
    answer_sentences: Annotated[int, Field(ge=1, le=20)]
    calibration: Path
    min_confidence: Annotated[float, Field(ge=0, le=1)] | None
    unverified: Literal["remove", "mark"]


class IngestionSettings(Section):
    """The journey from file to chunks."""

    chunk_tokens: Annotated[int, Field(ge=16)]
    overlap_tokens: Annotated[int, Field(ge=0)]
    max_file_bytes: Annotated[int, Field(ge=1)]
    max_text_chars: Annotated[int, Field(ge=1)]
    max_pdf_pages: Annotated[int, Field(ge=1)]
    max_archive_files: Annotated[int, Field(ge=1)]
    max_unpacked_bytes: Annotated[int, Field(ge=1)]
    parse_timeout_s: Seconds
    parse_memory_bytes: Annotated[int, Field(ge=134_217_728)]


class JobsSettings(Section):
    """Ingestion that goes on behind an answered request."""

    data_dir: Path
    max_queued_items: Annotated[int, Field(ge=1)]
    max_queued_bytes: Annotated[int, Field(ge=1)]
    keep_days: Annotated[float, Field(gt=0)]
    sync_documents: Annotated[int, Field(ge=0)]
    sync_chars: Annotated[int, Field(ge=0)]


class RecordsSettings(Section):
    """What is kept of answers, to be shown and asked again."""

    data_dir: Path
    keep: Annotated[int, Field(ge=0, le=10_000_000)]
    keep_days: Annotated[float, Field(gt=0, le=36_500)]


class ModelsSettings(Section):
    """Where models come from."""

    hub_token: SecretStr | None


class LoggingSettings(Section):
    """What is logged, and how."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]
    format: Literal["console", "json"]


class RuntimeSettings(Section):
    """The cures for BentoML."""

    batch_wait_cap_ms: Annotated[float, Field(ge=0, le=1_000)]
    probe_timeout_s: Seconds


# Where a service runs, how it gathers batches and how long it waits: an answer that is not degraded doesn't depend on it.
_SHAPES_NO_ANSWER = frozenset(
    {
        "url",
        "data_dir",
        "compact_after",
        "postings_mib",
        "device",
        "dtype",
        "threads",
        "backend",
        "model",
        "max_batch_items",
        "max_batch_tokens",
        "vector_cache_bytes",
        "prompts",  # their version stands in what the generator says of itself
        "base_url",
        "max_running",
        "kv_tokens",
        "max_retries",
    }
)


def shaping(name: str, section: Section) -> dict[str, Setting]:
    """The settings of the section `name` that shape answers, by `section.key`; what a model is stands in its own description."""
    chosen = {key: value for key, value in section if key not in _SHAPES_NO_ANSWER and not key.endswith("timeout_s")}
    return {f"{name}.{key}": value for key, value in chosen.items() if isinstance(value, Setting)}


class _YamlFile(PydanticBaseSettingsSource):
    def __init__(self, settings_cls: type[BaseSettings], path: Path) -> None:
        super().__init__(settings_cls)
        self.path = path

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # pragma: no cover - required by the base class
        raise NotImplementedError

    def __call__(self) -> dict[str, Any]:
        try:
            content = yaml.safe_load(self.path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InvalidSettings(f"can't read the settings file {self.path}: {error}") from error
        if content is None:
            return {}
        if not isinstance(content, dict):
            raise InvalidSettings(f"the settings file {self.path} must hold a mapping, not {type(content).__name__}")
        return {str(key): value for key, value in content.items() if value is not None}


class Settings(BaseSettings):
    """The resolved settings; immutable."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", env_parse_none_str="null", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    embedder: EmbedderSettings
    retriever: RetrieverSettings
    generator: GeneratorSettings
    gateway: GatewaySettings
    answering: AnsweringSettings
    ingestion: IngestionSettings
    jobs: JobsSettings
    records: RecordsSettings
    models: ModelsSettings
    logging: LoggingSettings
    runtime: RuntimeSettings

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then variables, then files; see the module's docstring."""
        files = [_YamlFile(settings_cls, path) for path in config_files()]
        return (init_settings, env_settings, *files)


def config_files() -> list[Path]:
    """The settings files in force, strongest first. EKIBEN_CONFIG is a path, or the name of a file in configs/."""
    named = os.environ.get(CONFIG_VARIABLE)
    if not named:
        return [BASE_FILE]
    candidates = [Path(named), CONFIGS / named, CONFIGS / f"{named}.yaml"]
    try:
        found = next((path for path in candidates if path.is_file()), None)
    except OSError as error:  # a name too long for the file system
        raise InvalidSettings(f"{CONFIG_VARIABLE} names {named!r}, which can't be a file: {error.strerror}") from error
    if found is None:
        raise InvalidSettings(f"{CONFIG_VARIABLE} names {named!r}, but there is no such file (looked for {', '.join(map(str, candidates))})")
    return [found, BASE_FILE]


def load_settings(flags: Mapping[str, Mapping[str, object]] | None = None) -> Settings:
    """Resolve the settings. Raises InvalidSettings for an unknown key, a wrong type or a value out of bounds, naming each and its source."""
    _refuse_unknown_variables()
    try:
        return Settings(**(flags or {}))  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_input=False, include_url=False)]
        raise InvalidSettings(
            "\n".join(["the settings are not valid:", *lines, "`ekiben config` explains; configs/base.yaml lists them all"])
        ) from error
    except SettingsError as error:
        raise InvalidSettings(f"{error}: a variable that names a whole section holds JSON; set one key with {PREFIX}SECTION__KEY") from error


def _refuse_unknown_variables() -> None:
    for name in os.environ:
        # pydantic-settings reads variables in any case.
        section = name.upper().removeprefix(PREFIX).split("__")[0].lower()
        if name.upper().startswith(PREFIX) and name not in _NO_SETTINGS and section not in Settings.model_fields:
            raise InvalidSettings(f"{name} is no setting: EKIBEN_SECTION__KEY, with a section out of {', '.join(Settings.model_fields)}")


def in_configs(path: Path) -> Path:
    """`path`, looked for in configs/ where it is a name without a folder."""
    return CONFIGS / path if path.parent == Path() and not path.is_file() else path


@cache
def settings() -> Settings:
    """The settings of this process, resolved once."""
    return load_settings()


def provenance(resolved: Settings, flags: Mapping[str, Mapping[str, object]] | None = None) -> Iterator[tuple[str, object, str]]:
    """(key, value, source) of every setting in the order of configs/base.yaml; secrets masked."""
    files = config_files()
    sources: list[tuple[str, Mapping[str, Any]]] = [("flag", dict(flags or {})), ("environment", EnvSettingsSource(Settings)())]
    sources += [(_name_of(path), _YamlFile(Settings, path)()) for path in files]
    for section, branch in resolved:
        for key, value in branch:
            source = next((name for name, content in sources if key in (content.get(section) or {})), "default")
            yield f"{section}.{key}", str(value) if isinstance(value, SecretStr | Path) else value, source


def _name_of(path: Path) -> str:
    return f"configs/{path.name}" if path.parent == CONFIGS else str(path)
