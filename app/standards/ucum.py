"""Units of measure (UCUM codes): what one is in another, exactly, for a small table of common ones; pure.

Source: The Unified Code for Units of Measure 2.1 (2017-11-21). A unit that is not here is not guessed: whoever maps it
says the factor themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Conversion:
    """value in the other unit = value * factor + offset."""

    factor: Fraction
    offset: Fraction = Fraction(0)


def _of(**units: str) -> dict[str, tuple[Fraction, Fraction]]:
    return {name: (Fraction(size), Fraction(0)) for name, size in units.items()}


# Dimension -> unit -> (size, zero point): value in the base unit = value * size + zero point.
_KNOWN: dict[str, dict[str, tuple[Fraction, Fraction]]] = {
    "mass": {**_of(kg="1000", g="1", mg="1/1000", ug="1/1000000", ng="1/1000000000"),
             "[lb_av]": (Fraction("453.59237"), Fraction(0)), "[oz_av]": (Fraction("28.349523125"), Fraction(0))},
    "length": {**_of(km="1000", m="1", cm="1/100", mm="1/1000", um="1/1000000"),
               "[in_i]": (Fraction("0.0254"), Fraction(0)), "[ft_i]": (Fraction("0.3048"), Fraction(0))},
    "volume": _of(L="1", dL="1/10", cL="1/100", mL="1/1000", uL="1/1000000", fL="1/1000000000000000"),
    "time": _of(s="1", ms="1/1000", min="60", h="3600", d="86400", wk="604800"),
    "temperature": {"K": (Fraction(1), Fraction(0)), "Cel": (Fraction(1), Fraction("273.15")),
                    "[degF]": (Fraction(5, 9), Fraction("273.15") - Fraction(160, 9))},
    "pressure": {**_of(Pa="1", kPa="1000"), "mm[Hg]": (Fraction("133.322387415"), Fraction(0))},
    "mass concentration": {"g/L": (Fraction(1), Fraction(0)), "g/dL": (Fraction(10), Fraction(0)),
                           "mg/dL": (Fraction(1, 100), Fraction(0)), "mg/L": (Fraction(1, 1000), Fraction(0)),
                           "ug/mL": (Fraction(1, 1000), Fraction(0)), "ug/L": (Fraction(1, 1000000), Fraction(0)),
                           "ng/mL": (Fraction(1, 1000000), Fraction(0))},
    "amount concentration": {"mol/L": (Fraction(1), Fraction(0)), "mmol/L": (Fraction(1, 1000), Fraction(0)),
                             "umol/L": (Fraction(1, 1000000), Fraction(0))},
    "share": {"1": (Fraction(1), Fraction(0)), "%": (Fraction(1, 100), Fraction(0))},
}  # fmt: skip


def conversion(unit: str, into: str) -> Conversion | None:
    """How a value in `unit` becomes one in `into`; None where that is not known here (which does not make it wrong)."""
    if unit == into:
        return Conversion(Fraction(1))
    for units in _KNOWN.values():
        if unit in units and into in units:
            (size, zero), (other, origin) = units[unit], units[into]
            return Conversion(size / other, (zero - origin) / other)
    return None
