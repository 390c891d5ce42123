"""A risk report as a page that stands alone: inline pictures, no script, nothing fetched, Korean and English."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from app.deid import charts
from app.deid.charts import Bars
from app.deid.risk import RiskReport
from app.deid.risk.classes import ClassRisk
from app.deid.risk.groups import Grouping

ANALYSES: dict[str, tuple[str, str]] = {
    "code_prevalence": ("코드별 유병률", "Prevalence of codes"),
    "shares": ("범주별 비율", "Shares of categories"),
    "means": ("평균", "Means"),
    "means_by_group": ("집단별 평균", "Means by group"),
    "kaplan_meier": ("카플란-마이어 생존율", "Kaplan-Meier"),
    "odds_ratios": ("오즈비", "Odds ratios"),
    "linear_model": ("선형 모형", "Linear model"),
    "cox_model": ("콕스 모형", "Cox model"),
    "events_per_person": ("1인당 사건 수", "Events per person"),
    "time_between_events": ("사건 사이 기간", "Time between events"),
    "joint_shares": ("결합 비율", "Joint shares"),
    "logistic_model": ("로지스틱 모형", "Logistic model"),
    "medians": ("중앙값", "Medians"),
    "spread": ("표준편차", "Standard deviations"),
    "correlations": ("상관계수", "Correlations"),
}
KINDS = {"age": ("나이", "age"), "sex": ("성별", "sex"), "site": ("기관", "site"), "other": ("집단", "group")}


def page(report: RiskReport) -> str:
    """The HTML page of a report. It holds exact counts: it is for those who decide, not for researchers."""
    return _template().render(
        r=report,
        histogram=_histogram(report),
        risks=_risks(report),
        losses=_losses(report),
        stepped=[one for one in report.columns if one.steps],
        groupings=[(g, *KINDS[g.kind], _grouping(g)) for g in report.groups],
        inferences=_inferences(report),
        events=_events(report),
        utility=_utility(report),
        analyses=ANALYSES,
    )


def per_cent(share: float) -> str:
    """A share as people read it: as many decimals as it needs to differ from nothing and from all."""
    if share in (0.0, 1.0):
        return f"{share * 100:.0f} %"
    for decimals in (1, 2, 3):
        words = f"{share * 100:.{decimals}f}"
        if float(words) not in (0.0, 100.0):
            return f"{words} %"
    return "< 0.001 %" if share < 0.5 else "> 99.999 %"


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["per_cent"] = per_cent
    environment.filters["count"] = lambda n: f"{n:,}"
    environment.filters["number"] = lambda x: f"{x:.4g}"
    return environment.from_string((files("app.deid") / "templates" / "report.html").read_text("utf-8"))


def _histogram(report: RiskReport) -> Markup:
    sides = report.uniqueness.before, report.uniqueness.after
    most = max((bar.people for side in sides for bar in side.histogram), default=0) or 1
    labels = [_range(b.low, b.high) for b in sides[0].histogram]
    series = [[(b.people / most, _few(b.people)) for b in side.histogram] for side in sides]
    below = sum(1 for b in sides[0].histogram if b.high is not None and b.high < report.k)
    return charts.columns(
        "집단 크기별 참여자 수 · People by the size of their class", labels, series, ("before", "after"),
        (below, f"k = {report.k}"),
    )  # fmt: skip


def _range(low: int, high: int | None) -> str:
    return f"{low}+" if high is None else str(low) if low == high else f"{low}-{high}"


def _few(people: int) -> str:
    return "" if not people else f"{people / 1000:.0f}k" if people >= 10_000 else f"{people:,}"


def _risks(report: RiskReport) -> Markup:
    sides: tuple[ClassRisk, ClassRisk] = report.uniqueness.before, report.uniqueness.after
    rows: list[tuple[str, str]] = [
        ("max_risk", "최대 위험 · Maximum risk"),
        ("average_risk", "평균 위험 · Average risk"),
        ("unique_share", "유일한 사람 · Unique"),
        ("below_k_share", f"{report.k}명 미만 집단 · Below k"),
    ]
    bars = [
        Bars(words, tuple((getattr(s, name), per_cent(getattr(s, name))) for s in sides))
        for name, words in rows
    ]
    title = "공개 전후의 재식별 위험 · Risk before and after"
    return charts.rows(title, ("before", "after"), bars, ("before", "after"))


def _losses(report: RiskReport) -> Markup | None:
    several = len({c.table for c in report.columns}) > 1
    bars = [
        Bars(f"{c.table}.{c.column}" if several else c.column, ((c.loss, per_cent(c.loss)),))
        for c in report.columns
        if c.loss > 0 or c.transform == "generalise"
    ]
    return charts.rows("열별 정보 손실 · Loss per column", ("loss",), bars, ("loss",)) if bars else None


def _grouping(grouping: Grouping) -> Markup:
    bars = [
        Bars(
            "(소수 집단 합계 · small groups)" if g.label is None else g.label or "(결측 · missing)",
            ((g.suppressed_share, f"{per_cent(g.suppressed_share)} / {g.people:,}"),),
        )
        for g in grouping.groups
    ]
    title = f"{grouping.column}: 제외된 참여자 비율 · Share of people left out"
    return charts.rows(title, ("left out",), bars, ("loss",))


def _inferences(report: RiskReport) -> Markup | None:
    bars = [
        Bars(f"{i.table}.{i.column}", tuple((v, per_cent(v)) for v in (i.base, i.best, i.raw)))
        for i in report.inferences
    ]
    title = "민감한 값의 추정 성공률 · Success of the best guess"
    return (
        charts.rows(title, ("base", "after", "before"), bars, ("base", "after", "before")) if bars else None
    )


def _events(report: RiskReport) -> Markup | None:
    if report.events is None:
        return None
    said: list[tuple[str, Any, str]] = [
        ("원자료 · raw", report.events.before, "before"),
        ("공개본 · as released", report.events.after, "after"),
        ("공개본, 코드만 · codes alone", report.events.codes_alone, "after"),
    ]
    bars = [Bars(words, ((a.unique_share, per_cent(a.unique_share)),), (kind,)) for words, a, kind in said]
    return charts.rows("사건 3건으로 유일해지는 사람 · Unique by three events", ("share",), bars, ("after",))


def _utility(report: RiskReport) -> Markup | None:
    bars = [
        Bars(
            " · ".join(ANALYSES[a.name]),
            (
                (a.median_relative_error, per_cent(a.median_relative_error)),
                (a.mean_overlap, per_cent(a.mean_overlap)),
            ),
        )
        for a in report.utility.analyses
    ]
    title = "분석별 오차와 신뢰구간 겹침 · Error and interval overlap per analysis"
    return charts.rows(title, ("error", "overlap"), bars, ("loss", "after")) if bars else None
