"""What the image is made of, as CycloneDX 1.6: every package that requirements.lock pins, and nothing else.

    python deploy/sbom.py [requirements.lock]

Names, versions, digests and who needs whom come from the lock; licences from what is installed beside this interpreter,
where that is the pinned version. There is no date in it and its serial number follows from its content: the same lock
and installation give the same bytes. https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import json
import re
import sys
import uuid
from dataclasses import dataclass, field
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
# A requirement, its digests and who asked for it, as `uv pip compile --generate-hashes` writes them.
PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)\s*(?:;\s*(?P<marker>.*?))?\s*\\?$")
DIGEST = re.compile(r"^--hash=sha256:(?P<hex>[0-9a-f]{64})\s*\\?$")
ASKED = re.compile(r"^#\s+(?:via\s+)?(?P<name>[A-Za-z0-9._-]+)")


@dataclass
class Pin:
    """One package of a lock: digests are those of its files, one of which is installed."""

    name: str
    version: str
    marker: str
    digests: list[str] = field(default_factory=list)
    asked_by: list[str] = field(default_factory=list)

    @property
    def purl(self) -> str:
        """Its package URL."""
        return f"pkg:pypi/{self.name}@{self.version}"


def pins(lock: str) -> list[Pin]:
    """Every package of a lock, in its order; ValueError where a line is none that is understood."""
    found: list[Pin] = []
    for number, line in enumerate(lock.splitlines(), 1):
        text = line.strip()
        if match := PINNED.fullmatch(text):
            found.append(Pin(_name(match["name"]), match["version"], match["marker"] or ""))
        elif found and (match := DIGEST.fullmatch(text)):
            found[-1].digests.append(match["hex"])
        elif found and text.startswith("#"):
            if (match := ASKED.match(text)) and match["name"] != "via":
                found[-1].asked_by.append(_name(match["name"]))
        elif text:
            raise ValueError(f"line {number} of the lock is not understood")
    if bare := [pin.name for pin in found if not pin.digests]:
        raise ValueError(f"pinned without a digest: {', '.join(bare)}")
    return found


def bill(lock: str, name: str, version: str, licence: str) -> dict[str, Any]:
    """The bill of materials of an application that is installed from a lock; KeyError where the lock is another's."""
    found = pins(lock)
    own = f"pkg:pypi/{name}@{version}"
    components = [_component(pin) for pin in found]
    asks: dict[str, list[str]] = {own: [], **{pin.purl: [] for pin in found}}
    refs: dict[str, list[str]] = {name: [own]}
    for pin in found:
        refs.setdefault(pin.name, []).append(pin.purl)
    for pin in found:
        for asker in pin.asked_by:
            for one in refs[asker]:
                asks[one].append(pin.purl)
    document: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application", "bom-ref": own, "name": name, "version": version, "purl": own,
                "licenses": [{"license": {"id": licence}}],
            }
        },
        "components": components,
        "dependencies": [{"ref": ref, "dependsOn": sorted(set(needs))} for ref, needs in sorted(asks.items())],
    }  # fmt: skip
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True))
    return {**document, "serialNumber": f"urn:uuid:{serial}"}


def _component(pin: Pin) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": "library", "bom-ref": pin.purl, "name": pin.name, "version": pin.version, "purl": pin.purl,
        "scope": "optional" if pin.marker else "required",
        "hashes": [{"alg": "SHA-256", "content": one} for one in pin.digests],
    }  # fmt: skip
    if licences := _licences(pin):
        made["licenses"] = licences
    if pin.marker:
        made["properties"] = [{"name": "baekman:marker", "value": pin.marker}]
    return made


def _licences(pin: Pin) -> list[dict[str, Any]]:
    """What the installed package says of its licence: an SPDX expression, else the names of its classifiers, else a
    short text; nothing where another version is installed, or none."""
    try:
        told = distribution(pin.name)
    except PackageNotFoundError:
        return []
    if told.version != pin.version:
        return []
    if expressions := told.metadata.get_all("License-Expression"):
        return [{"expression": expressions[0]}]
    return [{"license": {"name": name}} for name in _names(told)]


def _names(told: Distribution) -> list[str]:
    classifiers = told.metadata.get_all("Classifier") or []
    ends = [one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License :: ")]
    if names := sorted(set(ends) - {"OSI Approved"}):
        return names
    text = " ".join(told.metadata.get_all("License") or []).strip()
    return [text] if text and "\n" not in text and len(text) < 80 else []


def _name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def main(arguments: list[str]) -> int:
    """Print the bill of this repository's lock, or of another."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lock = Path(arguments[0]) if arguments else ROOT / "requirements.lock"
    made = bill(lock.read_text("utf-8"), project["name"], project["version"], project["license"])
    sys.stdout.write(json.dumps(made, indent=1, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
