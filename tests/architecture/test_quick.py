"""What holds a promise of the chapter Security properties is in `make test`, not only in what CI runs beside it."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SLOW = ("again", "long")


def promised(text: str) -> set[tuple[str, str]]:
    """File and test (or nothing: the whole file) of everything that the chapter names."""
    chapter = text.split("\n## Security properties\n")[1].split("\n## ")[0]
    return set(re.findall(r"`(tests/[\w/]+/test_\w+\.py)(?:::(\w+))?`", chapter))


def slow(source: str) -> dict[str, bool]:
    """Test -> whether all of it is left out of `make test`. Cases of a test that are marked one by one leave others."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            said = {ast.unparse(one) for one in node.decorator_list}
            found[node.name] = any(f"pytest.mark.{mark}" in said for mark in SLOW)
    return found


def left_out(text: str, root: Path) -> set[str]:
    """What the chapter names and `make test` does not run."""
    missed = set()
    for path, name in promised(text):
        tests = slow((root / path).read_text("utf-8"))
        # A test that is no function of the module (a state machine) cannot be marked by a decorator.
        if (bool(tests) and all(tests.values())) if not name else tests.get(name, False):
            missed.add(f"{path}::{name}" if name else path)
    return missed


def test_every_promise_is_held_by_a_test_of_make_test() -> None:
    text = (ROOT / "DEVELOPING.md").read_text("utf-8")
    assert len(promised(text)) > 80
    assert left_out(text, ROOT) == set()


def test_one_that_is_marked_is_found(tmp_path: Path) -> None:
    (tmp_path / "tests/attack").mkdir(parents=True)
    one = tmp_path / "tests/attack/test_one.py"
    text = (
        "\n## Security properties\n| x | `tests/attack/test_one.py::test_it`, `tests/attack/test_one.py` |\n"
    )
    one.write_text("@pytest.mark.again\ndef test_it(): ...\ndef test_other(): ...\n")
    assert left_out(text, tmp_path) == {"tests/attack/test_one.py::test_it"}
    one.write_text("@pytest.mark.long\ndef test_it(): ...\n")
    assert left_out(text, tmp_path) == {"tests/attack/test_one.py::test_it", "tests/attack/test_one.py"}
    one.write_text("@pytest.mark.parametrize('a', first(1, [2, 3]))\ndef test_it(a): ...\n")
    assert left_out(text, tmp_path) == set()
