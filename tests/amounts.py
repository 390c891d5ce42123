"""How much a generative test tries: little in `make test`, more where `--hypothesis-profile=thorough` is said."""

from hypothesis import settings


def tries(quick: int, thorough: int) -> int:
    """The number of examples in this run."""
    return thorough if settings.get_current_profile_name() == "thorough" else quick
