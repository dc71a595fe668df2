import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from core.errors import InvalidSettings
from core.settings import BASE_FILE, CONFIGS, Settings, load_settings, provenance

KEYS = [(section, key) for section, field in Settings.model_fields.items() for key in field.annotation.model_fields]  # type: ignore[union-attr]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("EKIBEN_")]:
        monkeypatch.delenv(name)


def _file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | bytes) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    monkeypatch.setenv("EKIBEN_CONFIG", str(path))
    return path


def _source_of(key: str, flags: dict[str, dict[str, object]] | None = None) -> tuple[object, str]:
    return next((value, source) for name, value, source in provenance(load_settings(flags), flags) if name == key)


def test_the_base_file_holds_every_key_and_no_other() -> None:
    content = yaml.safe_load(BASE_FILE.read_text(encoding="utf-8"))
    assert [(section, key) for section, branch in content.items() for key in branch] == KEYS


def test_every_key_of_the_base_file_has_a_comment_above_it() -> None:
    lines = BASE_FILE.read_text(encoding="utf-8").splitlines()
    keys = [number for number, line in enumerate(lines) if re.match(r"  \w+:", line)]
    assert len(keys) == len(KEYS)
    assert [lines[number] for number in keys if not lines[number - 1].startswith("  # ")] == []


def test_the_base_file_alone_is_valid() -> None:
    assert {source for _, _, source in provenance(load_settings())} <= {"configs/base.yaml", "default"}


def test_a_file_beats_the_base_a_variable_the_file_and_a_flag_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _source_of("gateway.port") == (3000, "configs/base.yaml")
    path = _file(tmp_path, monkeypatch, "gateway: {port: 4000}")
    assert _source_of("gateway.port") == (4000, str(path))
    monkeypatch.setenv("EKIBEN_GATEWAY__PORT", "5000")
    assert _source_of("gateway.port") == (5000, "environment")
    assert _source_of("gateway.port", {"gateway": {"port": 6000}}) == (6000, "flag")
    assert _source_of("gateway.host", {"gateway": {"port": 6000}}) == ("127.0.0.1", "configs/base.yaml")


def test_a_file_in_configs_can_be_named_without_folder_and_suffix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EKIBEN_CONFIG", "base")
    assert load_settings().gateway.port == 3000
    assert (CONFIGS / "base.yaml").is_file()


def test_an_empty_file_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load_settings()
    _file(tmp_path, monkeypatch, "# nothing yet\ngateway:\n")
    assert load_settings() == expected


def test_a_variable_can_set_a_key_to_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EKIBEN_GENERATOR__MODEL", "null")
    assert load_settings({"generator": {"backend": "seq2seq"}}).generator.model is None


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("gateway: {prot: 1}", "gateway.prot"),
        ("gatewya: {port: 1}", "gatewya"),
        ("gateway: {port: 0}", "gateway.port"),
        ("gateway: {port: many}", "gateway.port"),
        ("gateway: 3000", "gateway"),
        ("retriever: {dense_weight: 1.01}", "retriever.dense_weight"),
        ("retriever: {timeout_s: .inf}", "retriever.timeout_s"),
        ("retriever: {timeout_s: .nan}", "retriever.timeout_s"),
        ("embedder: {device: gpu}", "embedder.device"),
        ("embedder: {url: localhost:3000}", "embedder.url"),
        ("generator: {backend: magic}", "generator.backend"),
        ("- a\n- list", "mine.yaml must hold a mapping, not list"),
        ("gateway: {port: 1", "mine.yaml"),
        (b"gateway: \xff\xfe", "mine.yaml"),
    ],
)
def test_a_wrong_file_is_refused_and_the_fault_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | bytes, named: str) -> None:
    _file(tmp_path, monkeypatch, content)
    with pytest.raises(InvalidSettings, match=re.escape(named)):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("EKIBEN_GATEWAY__PROT", "1", "gateway.prot"),
        ("EKIBEN_GATEWYA__PORT", "1", "EKIBEN_GATEWYA__PORT"),
        ("EKIBEN_GATEWAY_PORT", "1", "EKIBEN_GATEWAY_PORT"),
        ("EKIBEN_GATEWAY__PORT", "65536", "gateway.port"),
        ("EKIBEN_GATEWAY__PORT", "", "gateway.port"),
        ("EKIBEN_LOGGING__LEVEL__X", "1", "logging.level"),
        ("EKIBEN_GATEWAY", "not JSON", "gateway"),
        ("ekiben_gatewya__port", "1", "ekiben_gatewya__port"),
    ],
)
def test_a_wrong_variable_is_refused_and_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, named: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings, match=named):
        load_settings()


@pytest.mark.parametrize("flags", [{"gateway": {"port": 0}}, {"gateway": {"prot": 1}}, {"nowhere": {"port": 1}}])
def test_a_wrong_flag_is_refused(flags: dict[str, dict[str, object]]) -> None:
    with pytest.raises(InvalidSettings, match=r"gateway\.port|gateway\.prot|nowhere"):
        load_settings(flags)


@pytest.mark.parametrize("name", ["nowhere.yaml", "x" * 5_000])
def test_a_missing_file_is_refused_and_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("EKIBEN_CONFIG", name)
    with pytest.raises(InvalidSettings, match=name[:20]):
        load_settings()


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(InvalidSettings, match=r"(?s)gateway\.port.*runtime\.probe_timeout_s"):
        load_settings({"gateway": {"port": 0}, "runtime": {"probe_timeout_s": -1}})


@pytest.fixture(params=["variable", "file", "flag"])
def secret_flags(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, dict[str, object]]]:
    if request.param == "variable":
        monkeypatch.setenv("EKIBEN_MODELS__HUB_TOKEN", "hf_secret")
    if request.param == "file":
        _file(tmp_path, monkeypatch, "models: {hub_token: hf_secret}")
    yield {"models": {"hub_token": "hf_secret"}} if request.param == "flag" else {}


def test_a_secret_is_masked_wherever_it_comes_from(secret_flags: dict[str, dict[str, object]]) -> None:
    resolved = load_settings(secret_flags)
    assert resolved.models.hub_token is not None
    assert resolved.models.hub_token.get_secret_value() == "hf_secret"
    assert "hf_secret" not in repr(list(provenance(resolved, secret_flags))) + repr(resolved)


def test_a_refused_value_is_not_repeated_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EKIBEN_MODELS__HUB_TOKEN__X", "hf_secret")
    with pytest.raises(InvalidSettings) as caught:
        load_settings()
    assert "hf_secret" not in f"{caught.value} {caught.value.__cause__}"


def test_settings_are_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().gateway.port = 1
