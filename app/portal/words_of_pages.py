"""What the front page and the API page say, in Korean and English."""

from __future__ import annotations

from typing import Any

WORDS: dict[str, dict[str, Any]] = {
    "ko": {
        "title": "백만",
        "lead": "동의받은 바이오 코호트를 가진 기관과 승인된 연구자 사이의 공유 플랫폼",
        "other": "English",
        "progress": "백만 명을 향하여",
        "people": "동의한 참여자",
        "goal": "목표",
        "nobody": "아직 공개된 코호트가 없습니다. "
        "기관이 코호트를 등록하고 동의 명부와 데이터를 올리면 이곳에 나타납니다.",
        "masked": "숫자는 반올림되며 적은 수는 표시하지 않습니다.",
        "institutions": "기관별",
        "hidden": "표시하지 않음",
        "first": "먼저 할 일",
        "roles": [
            ("기관", "코호트와 동의서를 등록하고, 데이터 사전을 쓰고, 동의 명부와 표를 올립니다.",
             ["POST /v1/cohorts", "POST /v1/cohorts/{id}/datasets", "PUT /v1/versions/{id}/dictionary",
              "PUT /v1/cohorts/{id}/consents", "POST /v1/uploads", "POST /v1/versions/{id}/submit"]),
            ("데이터 심의", "보고서를 읽고 공개하며, 신청을 심의하고 모의 실행을 본 뒤 결정합니다.",
             ["GET /v1/versions/{id}/report", "POST /v1/versions/{id}/publish", "GET /v1/requests?queue=mine",
              "POST /v1/requests/{id}/dry-run", "POST /v1/requests/{id}/decision"]),
            ("연구자", "데이터를 찾고, 신청하고, 약정을 수락한 뒤 추출물을 받습니다.",
             ["GET /v1/catalog", "POST /v1/catalog/counts", "POST /v1/requests",
              "POST /v1/permits/{id}/agreement", "POST /v1/extracts", "GET /v1/extracts/{id}/manifest"]),
        ],
        "api": "API 안내",
        "api_title": "백만 API",
        "machine": "기계용 기술서(OpenAPI)",
        "scopes": "필요한 권한",
        "public": "공개",
        "takes": "본문",
        "parameters": "매개변수",
        "answers": "응답",
        "required": "필수",
        "home": "처음으로",
    },
    "en": {
        "title": "Baekman",
        "lead": "The sharing layer between institutions that hold consented cohorts "
        "and the researchers approved to use them",
        "other": "한국어",
        "progress": "On the way to one million",
        "people": "consenting people",
        "goal": "goal",
        "nobody": "No cohort is published yet. Once an institution has registered a cohort and uploaded its consent "
        "register and data, it appears here.",
        "masked": "Numbers are rounded, and small ones are not shown.",
        "institutions": "By institution",
        "hidden": "not shown",
        "first": "What to do first",
        "roles": [
            ("Institution", "Register a cohort and its consent form, write a dictionary, upload consents and tables.",
             ["POST /v1/cohorts", "POST /v1/cohorts/{id}/datasets", "PUT /v1/versions/{id}/dictionary",
              "PUT /v1/cohorts/{id}/consents", "POST /v1/uploads", "POST /v1/versions/{id}/submit"]),
            ("Data steward", "Read the report and publish; review requests, see the dry run, decide.",
             ["GET /v1/versions/{id}/report", "POST /v1/versions/{id}/publish", "GET /v1/requests?queue=mine",
              "POST /v1/requests/{id}/dry-run", "POST /v1/requests/{id}/decision"]),
            ("Researcher", "Find data, ask, accept the agreement, fetch the extract.",
             ["GET /v1/catalog", "POST /v1/catalog/counts", "POST /v1/requests",
              "POST /v1/permits/{id}/agreement", "POST /v1/extracts", "GET /v1/extracts/{id}/manifest"]),
        ],
        "api": "The API",
        "api_title": "The API of Baekman",
        "machine": "For machines: OpenAPI",
        "scopes": "Scopes",
        "public": "public",
        "takes": "Body",
        "parameters": "Parameters",
        "answers": "Answers",
        "required": "required",
        "home": "Home",
    },
}  # fmt: skip
