"""docker-compose.yml fits its specification, the services' settings, and our rules."""

import json
import re
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from kit.settings import ServiceSettings
from tests.deploy.compose import ROOT, SERVICES, environment_of, load_compose

COMPOSE = load_compose()
ALL = COMPOSE["services"]
SECRETS = re.compile(r"(PASSWORD|TOKEN|SECRET|PEPPER|AUTH$)")
REQUIRED = re.compile(r"\$\{[A-Z_]+:\?[^}]+\}")


def settings_class(package: str) -> type[ServiceSettings]:
    module = import_module(f"{package}.settings")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, ServiceSettings)
        and value is not ServiceSettings
    ]
    assert len(found) == 1
    return found[0]


def leadline_environment(name: str) -> dict[str, str]:
    environment = environment_of(ALL[name])
    return {key: value for key, value in environment.items() if key.startswith("LEADLINE_")}


def filled(value: str) -> str:
    """The value with every variable replaced, as ``docker compose`` would do it."""
    value = re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", value)
    return REQUIRED.sub("x" * 64, value)


def test_the_file_fits_the_compose_specification() -> None:
    schema = files("check_jsonschema.builtin_schemas.vendor").joinpath("compose-spec.json")
    validator = Draft202012Validator(json.loads(schema.read_text()))
    assert [error.message for error in validator.iter_errors(COMPOSE)] == []


def test_the_specification_would_refuse_a_misspelt_member() -> None:
    schema = files("check_jsonschema.builtin_schemas.vendor").joinpath("compose-spec.json")
    broken = {**COMPOSE, "services": {**ALL, "gateway": {**ALL["gateway"], "heathcheck": {}}}}
    assert list(Draft202012Validator(json.loads(schema.read_text())).iter_errors(broken))


@pytest.mark.parametrize("name", SERVICES)
def test_every_variable_is_a_setting_of_its_service(name: str) -> None:
    fields = settings_class(SERVICES[name]).model_fields
    given = {key.removeprefix("LEADLINE_").lower() for key in leadline_environment(name)}
    assert given <= set(fields)


@pytest.mark.parametrize("name", SERVICES)
def test_the_settings_accept_what_compose_gives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in leadline_environment(name).items():
        monkeypatch.setenv(key, filled(value))
    settings = settings_class(SERVICES[name])()
    assert settings.host == "0.0.0.0"
    assert settings.service_token.get_secret_value()
    assert all(address.startswith("tcp://") for address in settings.inference_frames)


def test_services_find_each_other_on_the_ports_where_they_listen() -> None:
    ports = {name: environment_of(ALL[name])["LEADLINE_PORT"] for name in SERVICES}
    for name in SERVICES:
        environment = leadline_environment(name)
        for target, variable in (
            ("registry", "LEADLINE_REGISTRY_URL"),
            ("feature-store", "LEADLINE_FEATURE_STORE_URL"),
            ("monitor", "LEADLINE_MONITOR_URL"),
            ("inference", "LEADLINE_INFERENCE_URLS"),
        ):
            assert environment[variable] == f"http://{target}:{ports[target]}"
    listens = environment_of(ALL["inference"])["LEADLINE_INFERENCE_FRAMES"]
    connects = environment_of(ALL["gateway"])["LEADLINE_INFERENCE_FRAMES"]
    assert connects == listens.replace("0.0.0.0", "inference")


def test_every_image_is_ours_or_pinned_to_a_full_version() -> None:
    for name, service in ALL.items():
        image = service["image"]
        ours = image.startswith("leadline:")
        assert ours or re.search(r":v?\d+\.\d+(\.\d+)?(-[a-z0-9.]+)?$", image), name
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert bases
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", base) for base in bases)


def test_no_secret_has_a_value_in_the_file() -> None:
    for service in ALL.values():
        for key, value in environment_of(service).items():
            if SECRETS.search(key):
                assert REQUIRED.fullmatch(value), key
            if "://" in value and "@" in value:
                password = value.split("://", 1)[1].rsplit("@", 1)[0].split(":", 1)[1]
                assert REQUIRED.fullmatch(password), key
        command = service.get("command", [])
        if "--requirepass" in command:
            assert REQUIRED.fullmatch(command[command.index("--requirepass") + 1])


def test_the_example_environment_names_every_required_variable_and_fills_none() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    required = set(re.findall(r"\$\{([A-Z_]+):\?", text))
    example = dict(
        line.split("=", 1)
        for line in (ROOT / "deploy/example.env").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert {key: example[key] for key in required} == dict.fromkeys(required, "")
    assert set(re.findall(r"\$\{([A-Z_]+)", text)) == set(example)


@pytest.mark.parametrize("name", sorted(set(ALL) - {"first-keys"}))
def test_everything_has_a_health_check_limits_and_comes_back(name: str) -> None:
    service = ALL[name]
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["restart"] == "unless-stopped"
    assert "no-new-privileges:true" in service["security_opt"]


@pytest.mark.parametrize("name", sorted(set(ALL) - {"postgres"}))
def test_everything_but_postgres_runs_read_only_without_capabilities(name: str) -> None:
    assert ALL[name]["read_only"] is True
    assert ALL[name]["cap_drop"] == ["ALL"]


def test_only_the_gateway_can_be_reached_from_another_machine() -> None:
    for name, service in ALL.items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:") or name == "gateway"
    assert COMPOSE["networks"]["inside"] == {"internal": True}


def test_every_mounted_file_is_in_the_repository() -> None:
    for service in ALL.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), source
            else:
                assert source in COMPOSE["volumes"], source


def copied_in(dockerfile: str) -> set[str]:
    lines = re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE)
    return {source for line in lines for source in line.split()[:-1] if source != "."}


def test_the_build_context_has_what_the_image_copies_and_the_wheel_needs() -> None:
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / "deploy/Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "bench"}
    assert copied_in(dockerfile) <= allowed
    assert packages | {"LICENSE", "NOTICE", "README.md", "pyproject.toml"} <= allowed
    assert all((ROOT / path).exists() for path in allowed)


def test_the_embedded_store_and_composes_are_set_alike() -> None:
    from leadline.local.embedded_redis import server_command

    def pairs(command: list[str]) -> dict[str, Any]:
        return dict(zip(command[1::2], command[2::2], strict=True))

    embedded = pairs(server_command(Path("valkey-server"), Path("d"), Path("s")))
    compose = pairs(ALL["redis"]["command"])
    same = ("--appendonly", "--appendfsync", "--aof-use-rdb-preamble", "--aof-load-truncated")
    for setting in (*same, "--maxmemory-policy", "--save"):
        assert compose[setting] == embedded[setting]


def test_provisioned_files_are_yaml_and_name_the_mounted_folder() -> None:
    provider = yaml.safe_load(
        (ROOT / "deploy/grafana/provisioning/dashboards/leadline.yml").read_text()
    )["providers"][0]
    mounts = dict(volume.split(":")[:2][::-1] for volume in ALL["grafana"]["volumes"])
    assert provider["options"]["path"] in mounts


def test_the_page_for_operators_says_of_every_volume_what_its_loss_means() -> None:
    page = (ROOT / "docs/operate.md").read_text()
    section = page.split("## Backup and restore")[1].split("\n## ")[0]
    seen = {"prometheus-data", "alertmanager-data", "grafana-data"}  # what they saw, nothing else
    assert [v for v in COMPOSE["volumes"] if v not in seen and f"`{v}`" not in section] == []
