"""Why a purpose is allowed, denied or left to a person: every code in Korean and English."""

from __future__ import annotations

REASONS: dict[str, tuple[str, str]] = {
    "commercial_use": ("비영리 이용만 허용됩니다", "Only non-commercial use is allowed"),
    "country_unknown": ("이용 국가가 명시되지 않았습니다", "The country of use is not stated"),
    "delicate_subject": (
        "민감한 주제이므로 담당자가 결정해야 합니다",
        "The subject is delicate: a person decides",
    ),
    "disease_not_covered": ("허용된 질환에 속하지 않습니다", "A disease lies outside those of the dataset"),
    "disease_relation_unknown": (
        "질환 사이의 관계를 알 수 없습니다",
        "It is not known whether a disease descends from those of the dataset",
    ),
    "disease_unstated": ("대상 질환이 명시되지 않았습니다", "The disease studied is not stated"),
    "for_profit_organisation": (
        "비영리 기관만 이용할 수 있습니다",
        "Only not-for-profit organisations may use the data",
    ),
    "genetic_unstated": (
        "유전 연구 여부가 명시되지 않았습니다",
        "Whether it is a genetic study is not stated",
    ),
    "methods_left_open": (
        "방법론 연구에 대한 동의 범위가 불분명합니다",
        "The permission leaves methods development open: a person decides",
    ),
    "methods_prohibited": ("방법론 연구는 허용되지 않습니다", "Methods development is not allowed"),
    "named_unknown": (
        "지정 대상 여부를 확인할 수 없습니다",
        "Whether the asker is among those named is not known",
    ),
    "not_genetic": ("유전 연구만 허용됩니다", "Only genetic studies are allowed"),
    "not_named": (
        "지정된 이용자·기관·과제가 아닙니다",
        "The user, institution or project is not among those named",
    ),
    "organisation_unstated": (
        "기관의 영리 여부가 명시되지 않았습니다",
        "Whether the organisation is for profit is not stated",
    ),
    "origins_prohibited": (
        "인구 기원·조상 연구는 허용되지 않습니다",
        "The study of origins or ancestry is not allowed",
    ),
    "origins_unstated": (
        "인구 기원·조상 연구 여부가 명시되지 않았습니다",
        "Whether origins or ancestry are studied is not stated",
    ),
    "permission_ambiguous": ("이용 허가 조건이 하나가 아닙니다", "There is not exactly one permission"),
    "permission_covers": ("이용 허가 범위에 속합니다", "The permission covers the purpose"),
    "place_not_allowed": ("허용된 지역이 아닙니다", "The place of use is not allowed"),
    "publication_too_early": ("공표 유예 기간입니다", "Publication is planned before the moratorium ends"),
    "purpose_not_covered": (
        "이용 허가 범위를 벗어난 목적입니다",
        "The permission does not cover the purpose",
    ),
    "research_type_undecided": (
        "연구 유형은 담당자가 판단해야 합니다",
        "A person decides on the type of research",
    ),
    "term_unevaluated": ("조건을 평가할 수 없습니다", "A term could not be evaluated"),
    "term_unknown": ("알 수 없는 조건입니다", "A term is unknown"),
    "time_over": ("이용 기간이 끝났습니다", "The time of use is over"),
    "use_unstated": ("상업적 이용 여부가 명시되지 않았습니다", "Whether the use is commercial is not stated"),
}
