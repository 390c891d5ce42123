"""What the sign-in page says, in Korean and English."""

from __future__ import annotations

LANGUAGES = ("ko", "en")

WORDS: dict[str, dict[str, str]] = {
    "ko": {
        "title": "백만 로그인",
        "asks": "다음 애플리케이션이 귀하를 대신하여 백만에 접근하려고 합니다.",
        "may": "요청한 권한",
        "bounded": "귀하의 역할에 허용된 권한만 부여됩니다.",
        "returns": "승인 후 이동할 주소",
        "username": "사용자 이름",
        "password": "비밀번호",
        "approve": "로그인하고 허용",
        "deny": "거부",
        "other": "English",
        "sign_in_failed": "사용자 이름 또는 비밀번호가 올바르지 않습니다.",
        "too_many": "시도가 너무 많습니다. 잠시 후 다시 시도하십시오.",
        "stale": "페이지가 만료되었습니다. 다시 입력해 주십시오.",
        "wrong_title": "요청을 처리할 수 없습니다",
        "wrong": "애플리케이션이 보낸 요청이 올바르지 않습니다. 애플리케이션으로 돌아가 다시 시작하십시오.",
        "audit:read": "감사 기록 열람",
        "catalog:read": "카탈로그 검색과 집계 질의",
        "cohorts:read": "코호트, 데이터 사전, 보고서 열람",
        "cohorts:write": "코호트와 데이터셋 등록",
        "consents:write": "동의 등록과 동의 철회 접수",
        "datasets:publish": "데이터셋 버전 공개 또는 반려",
        "extracts:read": "추출물 열람과 내려받기",
        "extracts:write": "추출물 주문",
        "incidents:manage": "사고 차단, 평가, 통지, 종결",
        "incidents:report": "사고 신고와 조회",
        "inspections:read": "제공 내역 점검",
        "openid": "본인 식별",
        "permits:manage": "허가 정지와 취소",
        "platform:admin": "기관, 클라이언트, 계정 등록",
        "profile": "이름 제공",
        "requests:review": "이용 신청 심의와 결정",
        "requests:write": "이용 신청 작성과 약정 수락",
        "uploads:write": "파일 올리기",
    },
    "en": {
        "title": "Sign in to Baekman",
        "asks": "This application asks to use Baekman on your behalf.",
        "may": "It asks for",
        "bounded": "It gets only what your role allows.",
        "returns": "You will be sent to",
        "username": "User name",
        "password": "Password",
        "approve": "Sign in and allow",
        "deny": "Deny",
        "other": "한국어",
        "sign_in_failed": "The user name or the password is wrong.",
        "too_many": "Too many tries. Wait a while and try again.",
        "stale": "The page has expired. Please enter it again.",
        "wrong_title": "This request cannot be served",
        "wrong": "The application sent a request that is not valid. Go back to it and start again.",
        "audit:read": "Read and verify audit streams",
        "catalog:read": "Search the catalogue and ask for counts",
        "cohorts:read": "Read cohorts, dictionaries and reports",
        "cohorts:write": "Register cohorts and datasets",
        "consents:write": "Load consents and take withdrawals",
        "datasets:publish": "Publish or return dataset versions",
        "extracts:read": "Read and download extracts",
        "extracts:write": "Order extracts",
        "incidents:manage": "Contain, assess, notify and close incidents",
        "incidents:report": "Report and read incidents",
        "inspections:read": "Read who got what",
        "openid": "Know who you are",
        "permits:manage": "Suspend and revoke permits",
        "platform:admin": "Register institutions, clients and accounts",
        "profile": "Know your name",
        "requests:review": "Review and decide access requests",
        "requests:write": "Write access requests and accept agreements",
        "uploads:write": "Upload files",
    },
}


def language(wanted: str | None, accepted: str) -> str:
    """The language to speak: the one asked for, else the first of the browser's that we have, else Korean."""
    for tag in [*(wanted or "").split(), *(part.partition(";")[0].strip() for part in accepted.split(","))]:
        if (short := tag.lower().partition("-")[0]) in LANGUAGES:
            return short
    return LANGUAGES[0]
