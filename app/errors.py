"""Every refusal Baekman can give: a stable code, what is wrong, where, and what to do; never a value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and where.

    `count` is a number of occurrences, `lines` at most a few line numbers (1-based, the header is line 1).
    None of the fields may ever hold a data value: not in `detail`, not in `hint`.
    """

    code: str
    detail: str
    table: str | None = None
    column: str | None = None
    lines: tuple[int, ...] = ()
    count: int | None = None
    pointer: str | None = None
    hint: str | None = None
    near: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON; empty fields are left out."""
        return {
            k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items() if v not in (None, ())
        }


# code -> (HTTP status, English title, Korean title). A client may rely on the codes; titles may be reworded.
CODES: dict[str, tuple[int, str, str]] = {
    "agreement_required": (
        409,
        "The data use agreement has not been accepted",
        "데이터 이용 약정이 아직 수락되지 않았습니다",
    ),
    "anonymity_unreachable": (
        422,
        "The anonymity target cannot be reached",
        "익명성 목표를 달성할 수 없습니다",
    ),
    "cancelled": (409, "It was ended before its end", "끝나기 전에 취소되었습니다"),
    "conflict": (409, "The state of the object does not allow this", "현재 상태에서는 허용되지 않습니다"),
    "count_budget_spent": (429, "The count budget of this period is spent", "집계 질의 한도를 초과했습니다"),
    "count_refused": (
        403,
        "This count is too close to an earlier one",
        "이전 집계와 차이가 너무 작아 거부되었습니다",
    ),
    "database_unavailable": (503, "The database does not answer", "데이터베이스가 응답하지 않습니다"),
    "data_damaged": (500, "Stored data are not as they were written", "저장된 데이터가 손상되었습니다"),
    "dictionary_invalid": (422, "The dictionary cannot be accepted", "데이터 사전을 받아들일 수 없습니다"),
    "dry_run_required": (
        409,
        "A decision needs a dry run of this very plan and purpose",
        "이 계획과 목적의 모의 실행이 먼저 필요합니다",
    ),
    "duo_denied": (
        403,
        "The data use conditions do not allow this purpose",
        "데이터 이용 조건이 이 목적을 허용하지 않습니다",
    ),
    "engine_cannot": (
        409,
        "The engine cannot build this",
        "이 엔진으로는 만들 수 없습니다",
    ),
    "engine_unavailable": (503, "The engine does not run", "엔진이 동작하지 않습니다"),
    "extract_expired": (410, "The extract has expired", "추출물이 만료되었습니다"),
    "extract_too_close": (
        409,
        "The extract differs from an earlier answer by a few people",
        "이전 결과와 몇 명만 차이가 납니다",
    ),
    "feed_overdue": (
        409,
        "The withdrawal feed of the cohort is overdue",
        "코호트의 동의 철회 보고가 지연되고 있습니다",
    ),
    "forbidden": (403, "You may not do this", "권한이 없습니다"),
    "frozen": (403, "This is stopped while an incident is dealt with", "사고 대응 중이라 중지되었습니다"),
    "idempotency_conflict": (
        409,
        "The Idempotency-Key was used with another body",
        "같은 Idempotency-Key 가 다른 본문에 사용되었습니다",
    ),
    "idempotency_in_progress": (
        409,
        "The first call with this key is still running",
        "같은 키의 첫 호출이 아직 진행 중입니다",
    ),
    "insufficient_scope": (403, "The token lacks a scope", "토큰에 필요한 권한 범위가 없습니다"),
    "internal": (500, "Something failed on our side", "서버 내부 오류입니다"),
    "intersection_unsigned": (
        409,
        "Together with another release, classes fall below k",
        "다른 추출물과 결합하면 k 미만이 되는 집단이 있습니다",
    ),
    "invalid_request": (422, "The request is not valid", "요청이 올바르지 않습니다"),
    "invalid_token": (
        401,
        "The access token is missing, expired or not valid",
        "접근 토큰이 없거나 유효하지 않습니다",
    ),
    "job_parked": (
        409,
        "The work was stopped until the platform's operator has looked",
        "운영자가 확인할 때까지 작업이 중지되었습니다",
    ),
    "length_required": (411, "The length of the body must be announced", "본문의 길이를 알려야 합니다"),
    "link_expired": (403, "The link has expired", "링크의 유효 기간이 지났습니다"),
    "link_invalid": (403, "The link is not one that was given", "발급된 링크가 아닙니다"),
    "link_revoked": (403, "The link was taken back", "링크가 취소되었습니다"),
    "mapping_invalid": (422, "The mapping cannot be accepted", "매핑을 받아들일 수 없습니다"),
    "mapping_unfinished": (
        409,
        "The mapping leaves something unmapped",
        "매핑되지 않은 항목이 있습니다",
    ),
    "method_not_allowed": (405, "The method is not allowed here", "허용되지 않는 메서드입니다"),
    "not_found": (404, "There is no such thing here", "찾을 수 없습니다"),
    "outcome_worse_than_reviewed": (
        409,
        "The outcome is worse than what was reviewed",
        "결과가 심의된 내용보다 나쁩니다",
    ),
    "part_checking": (503, "A withdrawal is being carried to this extract", "동의 철회를 반영하고 있습니다"),
    "part_damaged": (503, "The part was damaged and is made anew", "손상된 파일을 다시 만들고 있습니다"),
    "part_withdrawn": (
        410,
        "This part holds a person who has withdrawn",
        "동의를 철회한 참여자가 포함된 파일입니다",
    ),
    "payload_too_large": (413, "The body is too large", "본문이 너무 큽니다"),
    "permit_not_live": (403, "The permit is not active", "허가가 유효하지 않습니다"),
    "plan_invalid": (422, "The plan cannot be accepted", "추출 계획을 받아들일 수 없습니다"),
    "precondition_failed": (
        412,
        "The object has changed since you read it",
        "읽은 뒤에 대상이 변경되었습니다",
    ),
    "precondition_required": (
        428,
        "Say by If-Match which version you have read",
        "If-Match 로 읽은 버전을 알려 주세요",
    ),
    "quota_exceeded": (409, "There is no room left for this", "할당량을 초과했습니다"),
    "range_not_satisfiable": (416, "The range lies outside the file", "요청 범위가 파일을 벗어났습니다"),
    "request_timeout": (408, "The body stopped coming", "본문 전송이 중단되었습니다"),
    "reviews_required": (409, "The reviews have not been settled", "심의가 아직 끝나지 않았습니다"),
    "storage_full": (507, "There is no room left to store this", "저장 공간이 부족합니다"),
    "store_unavailable": (503, "The object store does not answer", "객체 저장소가 응답하지 않습니다"),
    "too_many_requests": (429, "Too many requests", "요청이 너무 많습니다"),
    "tus_version_unsupported": (
        412,
        "This version of tus is not spoken here",
        "지원하지 않는 tus 버전입니다",
    ),
    "unsupported_media_type": (415, "The media type is not supported", "지원하지 않는 형식입니다"),
    "upload_offset_mismatch": (
        409,
        "The Upload-Offset is not where the upload stands",
        "업로드 위치가 일치하지 않습니다",
    ),
    "upload_gone": (410, "The upload has ended", "업로드가 종료되었습니다"),
    "upload_locked": (
        423,
        "Another request is writing to this upload",
        "다른 요청이 이 업로드에 쓰고 있습니다",
    ),
    "upload_checksum_mismatch": (460, "The bytes do not match their checksum", "체크섬이 일치하지 않습니다"),
    "verification_failed": (409, "The verifier refused the staged release", "검증기가 공개를 거부했습니다"),
    "version_not_ready": (
        409,
        "The dataset version is not in the state this needs",
        "데이터셋 버전의 상태가 맞지 않습니다",
    ),
    "window_closed": (
        422,
        "Dates span too little for the shift that the plan asks for",
        "날짜의 범위가 계획의 날짜 이동 폭에 비해 너무 짧습니다",
    ),
    "worker_lost": (500, "No worker survived this work", "이 작업을 실행하던 작업자가 거듭 종료되었습니다"),
}


@dataclass(eq=False)
class Problem(Exception):
    """A refusal that a person can act on; the web renders it as RFC 9457 `application/problem+json`."""

    code: str
    detail: str
    findings: list[Finding] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise KeyError(self.code)
        super().__init__(f"{self.code}: {self.detail}")

    @property
    def status(self) -> int:
        """The HTTP status that belongs to the code."""
        return CODES[self.code][0]

    def to_dict(self, instance: str | None = None) -> dict[str, Any]:
        """The problem document of RFC 9457 with our `code` and `problems`."""
        status, title, title_ko = CODES[self.code]
        body: dict[str, Any] = {
            "type": f"urn:baekman:problem:{self.code}",
            "title": title,
            "title_ko": title_ko,
            "status": status,
            "detail": self.detail,
            "code": self.code,
        }
        if instance:
            body["instance"] = instance
        if self.findings:
            body["problems"] = [f.to_dict() for f in self.findings]
        return {**body, **self.extra}


def refuse_all(code: str, detail: str, findings: Iterable[Finding]) -> None:
    """Raise one `Problem` holding every finding; do nothing where there is none."""
    if found := list(findings):
        raise Problem(code, detail, found)


def not_found(noun: str) -> Problem:
    """The answer for what is absent and for what is outside your institution or project: the same words."""
    return Problem("not_found", f"There is no such {noun}, or it is not yours to see.")
