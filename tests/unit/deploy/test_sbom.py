"""The bill of materials names every package that the lock pins, with its digests, and none other."""

import json
import re
from importlib.metadata import distribution
from pathlib import Path

import pytest

from deploy.sbom import bill, main, pins

LOCK = Path(__file__).parents[3] / "requirements.lock"
SMALL = """\
one==1.0 \\
    --hash=sha256:{a}
    # via
    #   baekman (pyproject.toml)
    #   two-b
Two.B==2.0 ; python_version < '3.12' \\
    --hash=sha256:{b} \\
    --hash=sha256:{c}
    # via baekman (pyproject.toml)
""".format(a="a" * 64, b="b" * 64, c="c" * 64)


@pytest.fixture(scope="module")
def ours():
    return bill(LOCK.read_text("utf-8"), "baekman", "0.1.0", "Apache-2.0")


def test_every_pinned_package_is_in_it_and_none_other(ours):
    """The lock is read here in another way than there: by its lines that begin at the margin."""
    text = LOCK.read_text("utf-8")
    pinned = re.findall(r"^([a-zA-Z0-9._-]+)==([^ ;\\\n]+)", text, re.MULTILINE)
    assert len(pinned) > 50
    assert sorted((one["name"], one["version"]) for one in ours["components"]) == sorted(pinned)
    digests = [digest["content"] for one in ours["components"] for digest in one["hashes"]]
    assert sorted(digests) == sorted(re.findall(r"sha256:([0-9a-f]{64})", text))


def test_what_is_installed_tells_its_licence(ours):
    installed = [one for one in ours["components"] if "properties" not in one]
    assert [one["name"] for one in installed if not one.get("licenses")] == []
    starlette = next(one for one in installed if one["name"] == "starlette")
    assert starlette["licenses"] == [{"expression": distribution("starlette").metadata["License-Expression"]}]


def test_every_package_is_needed_by_another_or_by_us(ours):
    refs = {one["bom-ref"] for one in ours["components"]}
    needs = {one["ref"]: set(one["dependsOn"]) for one in ours["dependencies"]}
    assert set(needs) == refs | {ours["metadata"]["component"]["bom-ref"]}
    assert set().union(*needs.values()) == refs
    assert any(ref.startswith("pkg:pypi/fastapi@") for ref in needs["pkg:pypi/baekman@0.1.0"])


def test_of_the_same_lock_it_is_the_same_and_of_another_it_is_not(ours, capsys):
    assert main([]) == main([str(LOCK)]) == 0
    first, second = capsys.readouterr().out.split('{\n "$schema"')[1:]
    assert first == second
    assert json.loads('{"$schema"' + first) == ours
    assert not re.search(r"20\d\d-\d\d-\d\dT", first)
    assert bill(SMALL, "baekman", "1", "MIT")["serialNumber"] != ours["serialNumber"]


def test_a_lock_is_read_whole_or_refused():
    found = bill(SMALL, "baekman", "1", "MIT")
    assert [(one["name"], one["scope"]) for one in found["components"]] == [
        ("one", "required"),
        ("two-b", "optional"),
    ]
    assert found["components"][1]["properties"][0]["value"] == "python_version < '3.12'"
    needs = {one["ref"]: one["dependsOn"] for one in found["dependencies"]}
    assert needs["pkg:pypi/baekman@1"] == ["pkg:pypi/one@1.0", "pkg:pypi/two-b@2.0"]
    assert needs["pkg:pypi/two-b@2.0"] == ["pkg:pypi/one@1.0"]
    with pytest.raises(ValueError, match="line 2 of the lock"):
        pins("one==1.0 \\\n    --hash=md5:00\n")
    with pytest.raises(ValueError, match="without a digest: one"):
        pins("one==1.0\n")
