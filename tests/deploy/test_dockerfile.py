import re
import tomllib
from pathlib import Path

import pytest

from deploy.requirements import names_needed
from tests.deploy.images import ROOT, entrypoint, served, stages

SERVICES = ["embedder", "gateway", "generator", "retriever"]


def extra_of(service: str) -> str:
    packages = stages()[f"{service}-packages"]
    defaults = dict(argument.split("=") for argument in packages.arguments("ARG"))
    named = re.search(r"\.\[([^\]]+)\]", packages.arguments("RUN")[0]).group(1)
    return defaults[named.removeprefix("$")] if named.startswith("$") else named


@pytest.mark.parametrize("service", SERVICES)
class TestEachImage:
    def test_runs_its_own_service_and_nothing_else(self, service: str) -> None:
        module, _, name = served(service).partition(":")

        assert module == f"services.{service}.service"
        assert f"class {name}:" in (ROOT / Path(*module.split("."))).with_suffix(".py").read_text(encoding="utf-8")

    def test_installs_the_extra_of_its_service(self, service: str) -> None:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]

        assert extra_of(service) == service
        assert service in extras

    def test_holds_torch_only_where_the_model_is(self, service: str) -> None:
        assert ("torch" in names_needed([extra_of(service)])) == (service == "embedder")

    def test_holds_no_tools_of_development(self, service: str) -> None:
        assert not names_needed([extra_of(service)]) & {"pytest", "mypy", "ruff", "uv"}

    def test_has_the_health_check_and_the_user_of_the_common_runtime(self, service: str) -> None:
        image = stages()[service]

        assert image.base == "runtime"
        assert {keyword for keyword, _ in image.instructions} == {"COPY", "CMD"}


def test_the_runtime_is_not_root_and_asks_for_readiness() -> None:
    runtime = stages()["runtime"]

    assert runtime.arguments("USER") == ["ekiben"]
    assert "'/readyz'" in runtime.arguments("HEALTHCHECK")[0]


def test_the_server_listens_where_the_health_check_asks_and_keeps_idle_connections_longer_than_clients() -> None:
    options = dict(zip(entrypoint()[4::2], entrypoint()[5::2], strict=True))

    assert entrypoint()[:4] == ["python", "-m", "bentoml", "serve"]
    assert options == {"--host": "0.0.0.0", "--port": "3000", "--timeout-keep-alive": "75"}
    assert f"('127.0.0.1', {options['--port']}" in stages()["runtime"].arguments("HEALTHCHECK")[0]


def test_usage_is_not_reported() -> None:
    # BentoML ignores "1".
    assert "BENTOML_DO_NOT_TRACK=true" in stages()["runtime"].arguments("ENV")[0].split()


def test_every_copied_path_exists_and_is_let_through_to_the_build() -> None:
    copied = [argument.split()[:-1] for stage in stages().values() for argument in stage.arguments("COPY") if "--from" not in argument]
    paths = {path for sources in copied for path in sources}
    let_through = {
        line[1:] for line in (ROOT / "deploy" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")
    }

    assert paths == let_through
    assert all((ROOT / path).exists() for path in paths)
