from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from core.settings import CONFIG_VARIABLE, PREFIX, load_settings
from tests.deploy.images import ROOT, entrypoint, stages

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PORT = entrypoint()[entrypoint().index("--port") + 1]


def enter(service: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables that a container of `service` has from its image and from compose."""
    image = dict(pair.split("=", 1) for pair in stages()["runtime"].arguments("ENV")[0].split())
    variables = {**image, **SERVICES[service].get("environment", {})}
    ours = {name: value for name, value in variables.items() if name.startswith(PREFIX)}
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    return ours


def test_there_are_four_services_each_built_from_a_stage_of_its_name() -> None:
    assert {name: service["build"]["target"] for name, service in SERVICES.items()} == {
        name: name for name in ("embedder", "gateway", "generator", "retriever")
    }
    assert set(SERVICES) <= set(stages())
    assert {service["build"]["dockerfile"] for service in SERVICES.values()} == {"deploy/Dockerfile"}


def test_only_the_gateway_is_published_and_only_to_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert published == {"gateway": [f"127.0.0.1:${{GATEWAY_PORT:-3000}}:{PORT}"]}


def test_only_the_gateway_has_a_network_with_a_way_out() -> None:
    internal = {name for name, network in COMPOSE["networks"].items() if network.get("internal")}

    assert {name for name, service in SERVICES.items() if set(service["networks"]) - internal} == {"gateway"}
    assert set.intersection(*(set(service["networks"]) for service in SERVICES.values())) == internal


@pytest.mark.parametrize("service", sorted(SERVICES))
class TestEachService:
    def test_comes_back_after_a_crash(self, service: str) -> None:
        assert SERVICES[service]["restart"] == "unless-stopped"

    def test_keeps_the_health_check_of_its_image(self, service: str) -> None:
        assert "healthcheck" not in SERVICES[service]

    def test_starts_after_those_it_calls_are_ready(self, service: str) -> None:
        calls = {"gateway": {"retriever", "generator"}, "retriever": {"embedder"}, "generator": {"embedder"}, "embedder": set()}
        waits_for = SERVICES[service].get("depends_on", {})

        assert set(waits_for) == calls[service]
        assert all(dependency == {"condition": "service_healthy"} for dependency in waits_for.values())

    def test_every_variable_is_a_setting_that_holds(self, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
        variables = enter(service, monkeypatch)
        settings = load_settings()

        for name in set(variables) - {CONFIG_VARIABLE}:
            section, key = name.removeprefix(PREFIX).lower().split("__")
            assert str(getattr(getattr(settings, section), key)) == variables[name]

    def test_finds_all_others_by_their_names_so_that_it_starts_none_itself(self, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
        enter(service, monkeypatch)
        settings = load_settings()

        for name in ("embedder", "retriever", "generator"):
            url = urlsplit(getattr(settings, name).url)
            assert (url.scheme, url.hostname, str(url.port)) == ("http", name, PORT)

    def test_keeps_nothing_but_documents_and_jobs(self, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
        enter(service, monkeypatch)
        kept = {"retriever": ("documents", load_settings().retriever.data_dir), "gateway": ("jobs", load_settings().jobs.data_dir.parent)}
        expected = [":".join(map(str, kept[service]))] if service in kept else []

        assert set(COMPOSE["volumes"]) == {volume for volume, _ in kept.values()}
        assert SERVICES[service].get("volumes", []) == expected
