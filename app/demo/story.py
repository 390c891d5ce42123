"""The story, in the order in which it happens between an institution, a steward and a researcher."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from app.demo import sample as omop
from app.demo.client import Caller, Refused
from app.demo.screen import Screen
from app.demo.server import Server

K = 11
PURPOSE = {"term": "HMB", "country": "KR", "irb": True, "commercial": False, "for_profit_organisation": False}
WANTED: dict[str, list[str]] = {
    "person": ["GENDER_CONCEPT_ID", "YEAR_OF_BIRTH", "RACE_CONCEPT_ID"],
    "condition_occurrence": [
        "CONDITION_OCCURRENCE_ID", "CONDITION_CONCEPT_ID", "CONDITION_START_DATE", "CONDITION_END_DATE",
    ],
    "drug_exposure": ["DRUG_CONCEPT_ID", "DRUG_EXPOSURE_START_DATE", "DAYS_SUPPLY"],
    "measurement": ["MEASUREMENT_CONCEPT_ID", "MEASUREMENT_DATE"],
    "procedure_occurrence": ["PROCEDURE_CONCEPT_ID", "PROCEDURE_DATE"],
    "observation": ["OBSERVATION_CONCEPT_ID", "OBSERVATION_DATE"],
    "observation_period": ["OBSERVATION_PERIOD_START_DATE", "OBSERVATION_PERIOD_END_DATE"],
    "concept": ["CONCEPT_ID", "CONCEPT_NAME", "DOMAIN_ID", "VOCABULARY_ID"],
}  # fmt: skip
BORN = (
    "[1940, 1980)",
    "[1980, 2020)",
)  # the row filter: born 1940 to 2019, at a level no finer than released


@dataclass
class Story:
    """What the players know of each other: ids, and what the last screen tells."""

    server: Server
    folder: Path
    screen: Screen
    k: int = K
    ids: dict[str, str] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)

    def play(self) -> None:
        """Every scene."""
        self.sample = omop.export(self.folder / "hospital")
        self.platform_opens()
        self.institution_registers()
        self.institution_uploads()
        self.steward_publishes()
        self.researcher_asks()
        self.steward_decides()
        self.researcher_receives()
        self.participant_withdraws()

    # -- scenes

    def platform_opens(self) -> None:
        """The platform registers the institution and gives each of the others an identity."""
        with self.screen.step("platform", "opens: an institution, three identities") as step:
            step.total(5)
            admin = Caller(
                self.server.url, self.server.client_id, self.server.client_secret, "platform:admin"
            )
            body = {"name": "Hanbit University Hospital", "name_ko": "한빛대학교병원"}
            self.ids["institution"] = admin.post("/v1/institutions", body)["id"]
            step.advance()
            own = {"institution_id": self.ids["institution"]}
            self.institution = self._identity(
                admin,
                "hospital",
                "institution",
                "cohorts:read cohorts:write consents:write uploads:write",
                own,
            )
            step.advance()
            self.steward = self._identity(
                admin,
                "data review board",
                "steward",
                "cohorts:read datasets:publish permits:manage requests:review audit:read",
                {},
            )
            step.advance()
            self.researcher = self._identity(
                admin,
                "research group",
                "researcher",
                "catalog:read requests:write extracts:read extracts:write",
                {},
            )
            step.advance(2)

    def institution_registers(self) -> None:
        """A cohort with its consent form and DUO terms, a dataset, a version, its dictionary."""
        with self.screen.step("institution", "registers cohort, consent form, dictionary") as step:
            step.total(4)
            form = "동의서 2.1 / consent form 2.1: clinical, genomic, lifelog, public data, recontact"
            cohort = {
                "name": "Hanbit GI cohort",
                "name_ko": "한빛 소화기 코호트",
                "description": "Synthetic people with conditions of the digestive tract (OMOP CDM 5.3).",
                "consent_form": {
                    "version": "2.1",
                    "language": "ko",
                    "sha256": hashlib.sha256(form.encode()).hexdigest(),
                    "domains": ["clinical", "genomic", "lifelog", "public", "recontact"],
                },
                "duo": [{"term": "HMB"}, {"term": "IRB"}],
            }
            made = self.institution.post("/v1/cohorts", cohort, headers={"Idempotency-Key": "cohort-1"})
            again = self.institution.post("/v1/cohorts", cohort, headers={"Idempotency-Key": "cohort-1"})
            step.advance()
            self.ids["cohort"] = made["id"]
            dataset = {
                "name": "GiBleed",
                "name_ko": "위장관 출혈",
                "keywords": ["OMOP", "gastroenterology", "소화기"],
            }
            self.ids["dataset"] = self.institution.post(f"/v1/cohorts/{made['id']}/datasets", dataset)["id"]
            version = self.institution.post(f"/v1/datasets/{self.ids['dataset']}/versions")
            step.advance()
            self.ids["version"] = version["id"]
            tag = {"If-Match": f'"{version["revision"]}"'}
            self.institution.call(
                "PUT", f"/v1/versions/{version['id']}/dictionary", omop.dictionary(self.sample), headers=tag
            )
            step.advance(2)
        self.screen.check("a POST repeated with its Idempotency-Key made one cohort, not two", made == again)

    def institution_uploads(self) -> None:
        """The consent register by PUT, the tables by tus; each is checked as a job."""
        register = omop.write_consents(self.sample)
        files = {table: self.sample.path(table) for table in omop.TABLES}
        size = sum(path.stat().st_size for path in files.values()) + register.stat().st_size
        with self.screen.step("institution", "uploads consents and nine tables") as step:
            step.total(size)
            uploads = [
                self.institution.put(f"/v1/cohorts/{self.ids['cohort']}/consents", register, step.advance)
            ]
            for table, path in files.items():
                step.says(table)
                uploads.append(self._send(table, path, step.advance))
        with self.screen.step("institution", "checks: types, keys, people, identifiers") as step:
            step.total(len(uploads))
            reports = []
            for url in uploads:
                ended = self.institution.watch(url, _decided, lambda _: None)
                step.says(str(ended.get("table_name") or "consents"))
                step.advance()
                reports.append(ended)
        bad = [(r.get("table_name"), r["report"]) for r in reports if r["state"] != "accepted"]
        self.screen_must("every upload is accepted", not bad, bad)
        removed = all(r["original"] == "removed" for r in reports)
        self.screen.check(f"{len(reports)} uploads accepted, their originals removed", removed)

    def steward_publishes(self) -> None:
        """The version is checked as a whole, the steward reads the report and publishes; the counter moves."""
        version = f"/v1/versions/{self.ids['version']}"
        before = self.platform_progress()
        with self.screen.step("institution", "hands the version in, checked as a whole") as step:
            self.institution.post(f"{version}/submit")
            done = self.institution.watch(
                version, _checked, lambda v: step.says(str(v["progress"].get("step", "")))
            )
            self.screen_must("the version is ready", done["state"] == "ready", done)
            self.institution.post(f"{version}/submit")
        with self.screen.step("steward", "reads the report and publishes"):
            report = self.steward.get(f"{version}/report")["report"]
            self.steward.post(f"{version}/publish")
            after = self.platform_progress()
        rows = [(t["table"], t["rows"], t["people"]) for t in self.institution.get(version)["tables"]]
        self.screen.table("In the vault", ("table", "rows", "people"), rows)
        self.told["rows_in"] = {name: rows_ for name, rows_, _ in rows}
        consenting = sum(1 for line in _by_person(self.sample) if line["state"] == "granted")
        moved = (after or 0) - (before or 0)
        words = f"the counter to the million moved to {after:,} (of {consenting:,} consenting people; masked)"
        self.screen.check(words, abs(moved - consenting) <= K)
        self.told["report_tables"] = len(report["tables"])

    def researcher_asks(self) -> None:
        """Search, masked counts, an access request."""
        with self.screen.step("researcher", "searches, counts, files a request") as step:
            step.total(4)
            found = self.researcher.get("/v1/catalog", params={"q": "소화기"})["items"]
            step.advance()
            ask = {"version_id": self.ids["version"], "conditions": [_born()]}
            count = self.researcher.post("/v1/catalog/counts", ask)
            same = self.researcher.post("/v1/catalog/counts", ask)
            step.advance()
            wrong = {**WANTED, "person": ["GENDER_CONCEPT", "YEAR_OF_BIRT"]}
            refused = self._refusal(lambda: self.researcher.post("/v1/requests", self._request(wrong)))
            made = self.researcher.post("/v1/requests", self._request(WANTED))
            step.advance()
            self.ids["request"] = made["id"]
            self.researcher.download(f"/v1/requests/{made['id']}/dummy", self.folder / "dummy.zip")
            self.researcher.post(f"/v1/requests/{made['id']}/submit")
            step.advance()
        self.screen.check(f"found {len(found)} dataset for 소화기", len(found) == 1)
        words = f"masked count of people born 1940-2019: {count['value']:,}; asked again, the same answer"
        self.screen.check(words, count["value"] and count == same)
        near = [p["near"] for p in refused.get("problems", []) if p.get("near")]
        self.screen.refused("unknown columns, all at once, with near matches:", str(near))
        self.screen.check("two unknown columns were told at once", len(near) == 2)

    def steward_decides(self) -> None:
        """Boards, a dry run of the plan, the decision on its hash."""
        path = f"/v1/requests/{self.ids['request']}"
        with self.screen.step("steward", "reviews, runs the plan dry, decides") as step:
            step.total(4)
            self.steward.post(f"{path}/claim")
            early = self._refusal(lambda: self._decide(path))
            self.steward.post(f"{path}/reviews", {"board": "DRB", "state": "approved", "note": "적정"})
            self.steward.post(f"{path}/reviews", {"board": "IRB", "state": "exempt", "note": "IRB 2026-041"})
            step.advance()
            self.steward.post(f"{path}/dry-run")
            step.says("dry run")
            dry = self.steward.watch(
                f"{path}/dry-run", _ran, lambda d: step.says(str(d["progress"].get("step", "")))
            )
            self.screen_must("the dry run succeeded", dry["state"] == "ready", dry)
            self.report = self.folder / "dry-run.html"
            self.steward.download(f"{path}/dry-run/page", self.report)
            step.advance(2)
            decided = self._decide(path)
            step.advance()
        self.screen.refused("a decision before its reviews and dry run:", early["code"])
        result = dry["result"]
        self.told["dry_run"] = result
        self.screen.table(
            "What the steward saw (dry run)",
            ("table", "rows in", "rows out", "people"),
            [(t, n["rows_in"], n["rows_out"], n["people"]) for t, n in result["tables"].items()],
        )
        self.screen.console.print(
            f"  people {result['people']}\n  classes {result['classes']:,} · smallest {result['smallest_class']} · "
            f"k {result['k']} (+{result['reserve']}) · loss {result['loss']:.3f} · "
            f"suppressed {result['people']['suppressed']}\n"
        )
        self.screen.console.print(f"  with pictures: {self.report}\n")
        self.ids["permit"] = decided["permit_id"]

    def researcher_receives(self) -> None:
        """Agreement, order, progress, parts with their digests, codebook, attrition, one analysis."""
        permit = f"/v1/permits/{self.ids['permit']}"
        with self.screen.step("researcher", "accepts the agreement, orders the extract") as step:
            early = self._refusal(
                lambda: self.researcher.post("/v1/extracts", {"permit_id": self.ids["permit"]})
            )
            text = self.researcher.get(f"{permit}/agreement")
            self.researcher.post(f"{permit}/agreement", {"digest": text["digest"]})
            order = self.researcher.post("/v1/extracts", {"permit_id": self.ids["permit"]})
            self.ids["extract"] = order["id"]
            path = f"/v1/extracts/{order['id']}"
            ready = self.researcher.watch(
                path, _built, lambda e: step.says(str(e["progress"].get("step", "")))
            )
            self.screen_must("the extract is ready", ready["state"] == "ready", ready)
        self.screen.refused("an order before the agreement:", early["code"])
        self.manifest = self._fetch(1)
        people = {s["step"]: s["people"] for s in self.manifest["attrition"]}
        self.screen.table("Attrition (rounded; small steps hidden)", ("step", "people"), list(people.items()))
        words = self.manifest["codebook"]["tables"][0]["columns"][1]
        self.screen.console.print(f"  codebook, one line of it: {words}\n", soft_wrap=True)

    def participant_withdraws(self) -> None:
        """One participant withdraws; their parts are refused, the others come; then the next generation."""
        from app.demo.analysis import smallest_class, whereabouts

        person, pseudonyms = self._someone()
        extract = f"/v1/extracts/{self.ids['extract']}"
        with self.screen.step("institution", "a participant withdraws") as step:
            step.total(3)
            body = {"participant": str(person), "kind": "no_further_use"}
            taken = self.institution.post(f"/v1/cohorts/{self.ids['cohort']}/withdrawals", body)
            first = self._states()
            step.advance()
            notice = self.researcher.watch(extract, lambda e: bool(e["recalls"]), lambda _: None)["recalls"][
                0
            ]
            narrowed = self._states()
            step.advance()
            step.says("next generation")
            self.researcher.watch(extract, lambda e: e["generation"] == 2, lambda _: None)
            receipt = self.institution.watch(
                f"/v1/withdrawals/{taken['id']}", lambda w: w["state"] == "closed", lambda _: None
            )
            step.advance()
        held = whereabouts(self.folder / "generation-1", notice["pseudonym"])
        others = [name for name in first if name not in held]
        one = min(held)
        told = self._refusal(lambda: self.researcher.get(f"{extract}/files/{one}"))
        self.screen.refused("a part that held them, asked for again:", f"{told['code']}, {told['reason']}")
        self.screen.check(
            f"from the next request on, none of the {len(held)} parts that hold them came",
            bool(held) and all(first[name] != 200 for name in held),
        )
        self.screen.check(
            f"the {len(others)} other parts still come, each under its old name",
            bool(others) and all(narrowed[name] == 200 for name in others),
        )
        manifest = self._fetch(2)
        gone = whereabouts(self.folder / "generation-2", notice["pseudonym"])
        self.screen.check(
            f"the holder is told which pseudonym to delete ({notice['pseudonym']})",
            notice["pseudonym"] in pseudonyms,
        )
        self.screen.check("the new generation holds no row of them", not gone)
        k = smallest_class(self.folder / "generation-2", manifest)
        self.screen.check(f"and its smallest class still has {k} people (k = {K})", k >= K)
        answer = self.researcher.post(f"{extract}/attestation", {"answer": "destroyed"})
        self.screen.check("the holder attested that the rows are destroyed", answer["attested"] == 1)
        self.told["k"], self.told["receipt"] = k, receipt["receipt"]

    # -- small parts of scenes

    def platform_progress(self) -> int | None:
        """The public counter."""
        found = self.researcher.get("/v1/progress")["people"]
        return int(found) if found is not None else None

    def screen_must(self, what: str, holds: bool, found: Any) -> None:
        """A check whose failure tells what was found instead."""
        if not holds:
            raise AssertionError(f"{what}: {found}")

    def _identity(self, admin: Caller, name: str, role: str, scopes: str, more: dict[str, str]) -> Caller:
        body = {"name": name, "role": role, "scopes": scopes.split(), **more}
        made = admin.post("/v1/clients", body)
        return Caller(self.server.url, made["id"], made["client_secret"], scopes)

    def _send(self, table: str, path: Path, moved: Any) -> str:
        if path.stat().st_size < 2**20:
            return self.institution.put(f"/v1/versions/{self.ids['version']}/tables/{table}", path, moved)
        parts = {"purpose": "table", "version": self.ids["version"], "table": table, "filename": path.name}
        metadata = ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in parts.items())
        return self.institution.upload(path, metadata, moved)

    def _request(self, tables: dict[str, list[str]]) -> dict[str, Any]:
        return {
            "version_id": self.ids["version"],
            "title": "Drugs before gastrointestinal bleeding",
            "summary": "Which drugs were taken in the year before a first bleeding?",
            "purpose": PURPOSE,
            "tables": tables,
            "filter": [_born()],
            "privacy": {"k": self.k},
            "irb_reference": "IRB 2026-041",
            "end_date": (datetime.now(UTC) + timedelta(days=365)).date().isoformat(),
        }

    def _decide(self, path: str) -> Any:
        plan_hash = self.steward.get(path)["plan_hash"]
        return self.steward.post(
            f"{path}/decision", {"decision": "approve", "plan_hash": plan_hash, "note": "승인"}
        )

    def _refusal(self, call: Any) -> dict[str, Any]:
        try:
            call()
        except Refused as refused:
            return dict(refused.problem)
        raise AssertionError("something was allowed that must be refused")

    def _fetch(self, generation: int) -> dict[str, Any]:
        target = self.folder / f"generation-{generation}"
        target.mkdir()
        extract = f"/v1/extracts/{self.ids['extract']}"
        with self.screen.step("researcher", f"downloads generation {generation}, checks sha-256") as step:
            manifest: dict[str, Any] = self.researcher.get(f"{extract}/manifest")
            (target / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False), encoding="utf-8")
            parts = [(t["name"], p) for t in manifest["tables"] for p in t["parts"]]
            step.total(len(parts))
            wrong = 0
            for table, part in parts:
                step.says(table)
                (target / table).mkdir(exist_ok=True)
                found = self.researcher.download(
                    f"{extract}/files/{part['name']}", target / table / part["name"]
                )
                wrong += found != part["sha256"]
                step.advance()
        self.screen.check(f"{len(parts)} parts, every sha-256 as in the manifest", wrong == 0)
        return manifest

    def _states(self) -> dict[str, int]:
        """The status of a request for each part of the first generation, as it is now."""
        extract = f"/v1/extracts/{self.ids['extract']}"
        names = [p["name"] for t in self.manifest["tables"] for p in t["parts"]]
        return {name: self.researcher.http.head(f"{extract}/files/{name}").status_code for name in names}

    def _someone(self) -> tuple[int, set[str]]:
        """A participant who consented to all and is in the extract, known to the institution by its own number."""
        from app.demo.analysis import pseudonyms_in

        granted = [
            int(c["participant_id"])
            for c in omop.consents(self.sample)
            if c["domain"] == "all" and c["state"] == "granted"
        ]
        born = self.sample.born()
        chosen = next(p for p in granted if 1945 <= born[p] < 1975 and p not in self.sample.observed())
        return chosen, pseudonyms_in(self.folder / "generation-1")


def _born() -> dict[str, Any]:
    return {"table": "person", "column": "YEAR_OF_BIRTH", "level": 4, "values": list(BORN)}


def _by_person(sample: omop.Sample) -> list[dict[str, str]]:
    return list(omop.consents(sample))


def _decided(upload: dict[str, Any]) -> bool:
    return upload["state"] in ("accepted", "quarantined", "rejected", "expired")


def _checked(version: dict[str, Any]) -> bool:
    return version["state"] in ("ready", "quarantined")


def _ran(run: dict[str, Any]) -> bool:
    return run["state"] in ("ready", "failed")


def _built(extract: dict[str, Any]) -> bool:
    return extract["state"] in ("ready", "failed")
