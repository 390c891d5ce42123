"""What deploy/ says is true of this code: every file keeps its schema, every setting exists, every command answers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import check_jsonschema
import jsonschema
import kubernetes_validate
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from app.cli import app
from app.operating.production import unaccepted
from app.routers.handing import MARK
from app.settings import Settings

ROOT = Path(__file__).parents[3]
COMPOSE, KUBERNETES = ROOT / "docker-compose.yml", ROOT / "deploy" / "kubernetes"
SCHEMA = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
OURS = "baekman"  # the image
WITH_KEYS = ("worker", "restore")
VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::([-?])([^}]*))?\}")


def _documents(path: Path) -> list[Any]:
    return [one for one in YAML(typ="safe", pure=True).load_all(path.read_text(encoding="utf-8")) if one]


def rendered(told: dict[str, str]) -> dict[str, Any]:
    """docker-compose.yml with its variables filled in, as compose does; a KeyError where a needed one is missing."""

    def fill(match: re.Match[str]) -> str:
        name, sign, default = match.groups()
        if name in told:
            return told[name]
        if sign == "-":
            return default
        raise KeyError(name)

    text = COMPOSE.read_text(encoding="utf-8")
    found: dict[str, Any] = YAML(typ="safe", pure=True).load(VARIABLE.sub(fill, text))
    return found


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What deploy/secrets.sh prints for a .env, and the URL that the operator adds."""
    folder = tmp_path_factory.mktemp("secrets") / "made"
    done = subprocess.run(
        ["sh", str(ROOT / "deploy" / "secrets.sh"), str(folder)], capture_output=True, text=True, check=True
    )
    lines = dict(line.split("=", 1) for line in done.stdout.split())
    return {**lines, "BAEKMAN_PUBLIC_URL": "https://share.example.kr"}


def _ours(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: one for name, one in compose["services"].items() if one["image"] == OURS}


def _pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(KUBERNETES.glob("*.yaml")):
        for one in _documents(path):
            spec = one.get("spec", {})
            spec = spec.get("jobTemplate", {}).get("spec", spec)
            if pod := spec.get("template", {}).get("spec"):
                yield one["metadata"]["name"], pod


def test_compose_keeps_its_schema_and_a_fault_is_found(told: dict[str, str]) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    compose = rendered(told)
    jsonschema.Draft202012Validator(schema).validate(compose)
    compose["services"]["web"]["restarts"] = "always"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(compose)


def test_compose_starts_with_no_secret_left_out(told: dict[str, str]) -> None:
    for name in told:
        if name != "BAEKMAN_SECRETS":
            with pytest.raises(KeyError):
                rendered({k: v for k, v in told.items() if k != name})


def test_every_manifest_keeps_its_schema_and_a_fault_is_found() -> None:
    found = [one for path in KUBERNETES.glob("*.yaml") for one in _documents(path)]
    assert {one["kind"] for one in found} >= {
        "Deployment",
        "StatefulSet",
        "Job",
        "CronJob",
        "NetworkPolicy",
        "Ingress",
        "Secret",
    }
    for one in found:
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
    worker = next(one for one in found if one["kind"] == "Deployment")
    worker["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(worker, kubernetes_validate.latest_version(), strict=True)


def _settings_named() -> Iterator[tuple[str, str]]:
    places = [COMPOSE, *sorted((ROOT / "deploy").rglob("*"))]
    for path in places:
        if path.is_file() and path.suffix != ".pyc":  # of sbom.py, where a test has imported it
            for name in re.findall(r"\bBAEKMAN_([A-Z0-9_]+)\b", path.read_text(encoding="utf-8")):
                yield path.name, name.lower()


def test_every_setting_that_is_named_exists() -> None:
    # What compose itself fills in, and the shell that builds names of settings out of rooms.
    of_compose = {"database_password", "secrets", "backup_reader_secret"}
    named = {name for _, name in _settings_named()} - of_compose
    assert len(named) > 20
    assert {name for name in named if name not in Settings.model_fields} == set()


def test_every_command_answers(told: dict[str, str]) -> None:
    commands = {name: one["command"] for name, one in _ours(rendered(told)).items()}
    commands |= {f"pod {name}": pod["containers"][0]["args"] for name, pod in _pods()}
    assert {command[0] for command in commands.values()} == {
        "serve", "worker", "migrate", "backup", "restore",
    }  # fmt: skip
    for name, command in commands.items():
        answer = CliRunner().invoke(app, [command[0], "--help"])
        assert answer.exit_code == 0, name
        assert all(word in answer.output for word in command if word.startswith("--")), name
    assert 'ENTRYPOINT ["baekman"]' in (ROOT / "deploy" / "Containerfile").read_text(encoding="utf-8")


def _only_reads(settings: Settings) -> None:
    """Of a backup: it is given no master key, and has no way into what arrives or what builds remember."""
    assert not settings.has_master
    assert settings.backup_url is not None
    assert {settings.store_key(room) for room in ("inbox", "memory")} == {(None, None)}
    said = {f"{one.code}:{one.pointer}" for one in unaccepted(settings)}
    # Its rooms may open with one key, since that only reads; it needs no master key, and nobody reaches it.
    assert said <= {
        "demo_key:BAEKMAN_MASTER_KEY", "plain_http:BAEKMAN_PUBLIC_URL", "shared_store_key:BAEKMAN_OUTBOX_KEY_ID",
    }  # fmt: skip


def test_what_compose_tells_the_service_is_fit_for_production(
    told: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for service, one in _ours(rendered(told)).items():
        for name in [name for name in os.environ if name.startswith("BAEKMAN_")]:
            monkeypatch.delenv(name)
        secrets = {f"/run/secrets/{name}": f"{told['BAEKMAN_SECRETS']}/{name}" for name in one["secrets"]}
        for name, value in one["environment"].items():
            monkeypatch.setenv(name, secrets[value] if name.endswith("_KEY_FILE") else value)
        settings, web = Settings(_env_file=None), service not in WITH_KEYS
        assert settings.production
        if service == "backup":
            _only_reads(settings)
            continue
        assert settings.is_bare_web == web
        assert unaccepted(settings, web=web) == []
    monkeypatch.setenv("BAEKMAN_PUBLIC_URL", "http://share.example.kr")
    assert [finding.code for finding in unaccepted(Settings(_env_file=None))] == ["plain_http"]


def test_what_kubernetes_tells_the_service_is_fit_for_production(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [one for path in KUBERNETES.glob("*.yaml") for one in _documents(path)]
    kinds = {"ConfigMap": "configMapRef", "Secret": "secretRef"}
    held = {
        (kinds[one["kind"]], one["metadata"]["name"]): one.get("data", {}) | one.get("stringData", {})
        for one in found
        if one["kind"] in kinds
    }
    key = tmp_path / "key"
    key.write_text("q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQABEiM0RVZnc=")
    key.chmod(0o440)
    numbers = count(100)
    for part, pod in _pods():
        container = pod["containers"][0]
        names = [(kind, told["name"]) for one in container["envFrom"] for kind, told in one.items()]
        given = {name: value for of in names for name, value in held[of].items()}
        given |= {one["name"]: one["value"] for one in container.get("env", ())}
        with monkeypatch.context() as told:
            for name, value in given.items():
                filled = re.sub(r"<[^>]+>", lambda _: f"Hq7-2mZw-{next(numbers)}", value)
                told.setenv(name, str(key) if name.endswith("_KEY_FILE") else filled)
            settings, web = Settings(_env_file=None), part not in WITH_KEYS
            if part == "backup":
                _only_reads(settings)
                continue
            assert settings.is_bare_web == web, part
            assert unaccepted(settings, web=web) == [], part


def test_everything_of_ours_runs_as_nobody_on_a_closed_disk(told: dict[str, str]) -> None:
    for service in _ours(rendered(told)).values():
        assert (service["read_only"], service["user"], service["cap_drop"]) == (True, "10001:10001", ["ALL"])
    for name, pod in _pods():
        inside = pod["containers"][0]["securityContext"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert inside["readOnlyRootFilesystem"] is True, name
        assert inside["allowPrivilegeEscalation"] is False, name
        mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        volumes = {volume["name"] for volume in pod["volumes"]} | ({"state"} if name == "web" else set())
        assert mounted == volumes, name
    image = (ROOT / "deploy" / "Containerfile").read_text(encoding="utf-8")
    assert image.rindex("USER 10001") > image.rindex("RUN ")
    assert "--require-hashes" in image


def test_nothing_but_what_the_image_copies_reaches_the_builder() -> None:
    allowed = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    image = (ROOT / "deploy" / "Containerfile").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (?!--from)(\S+) ", image, re.MULTILINE)
    assert sorted(allowed) == sorted(copied)
    assert all((ROOT / name).exists() for name in copied)


def test_secrets_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    command = ["sh", str(ROOT / "deploy" / "secrets.sh"), str(tmp_path / "s")]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "s").iterdir()} == {0o400}
    identities = json.loads((tmp_path / "s" / "store_identities.json").read_text())["identities"]
    secrets = [one["credentials"][0]["secretKey"] for one in identities]
    assert len(set(secrets)) == len(identities) == 5
    assert all(
        one["name"] == "admin" or f"={one['credentials'][0]['secretKey']}" in first.stdout
        for one in identities
    )


def test_the_proxy_and_the_web_share_the_folder_and_the_word(told: dict[str, str]) -> None:
    text, services = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8"), rendered(told)["services"]
    url = services["web"]["environment"]["BAEKMAN_OUTBOX_URL"]
    assert f"alias {url.removeprefix('file://')}/;" in text
    assert [one for one in services["proxy"]["volumes"] if one.endswith(f"{url.removeprefix('file://')}:ro")]
    mounted = {
        name for name, one in services.items() if any("released:" in v for v in one.get("volumes", ()))
    }
    assert mounted == {"web", "worker", "backup", "restore", "proxy"}
    assert services["proxy"]["user"] == services["web"]["user"], "parts are their owner's alone"
    word = (Path(told["BAEKMAN_SECRETS"]) / "proxy_mark").read_text()
    assert word == f'proxy_set_header {MARK} "{services["web"]["environment"]["BAEKMAN_PROXY_MARK"]}";\n'
    assert "BAEKMAN_PROXY_MARK" not in services["worker"]["environment"]
    assert all(f"include /run/secrets/{name};" in text for name in services["proxy"]["secrets"][2:])


@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx here")
def test_the_proxys_file_is_one(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=x",
         "-keyout", str(tmp_path / "tls_key"), "-out", str(tmp_path / "tls_certificate")],
        check=True, capture_output=True,
    )  # fmt: skip
    (tmp_path / "proxy_mark").write_text('proxy_set_header X-Baekman-Proxy "word";\n')
    text = text.replace("/run/secrets", str(tmp_path)).replace("/run/nginx.pid", f"{tmp_path}/pid")
    (tmp_path / "nginx.conf").write_text(text.replace("web:8000", "127.0.0.1:8000"))
    command = ["nginx", "-t", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
