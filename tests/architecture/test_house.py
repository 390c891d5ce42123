"""The house stands as planned: import contracts, what they cannot see, and no trace of one machine.

Every check is shown to fail on a planted fault; a check that cannot fail guards nothing.
"""

import ast
import copy
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import grimp
import pytest
from importlinter import Contract, api
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.layers import LayersContract
from importlinter.contracts.protected import ProtectedContract

ROOT = Path(__file__).resolve().parents[2]


# --- (a) the import contracts -------------------------------------------------------------------------------

CONTRACT_TYPES: dict[str, type[Contract]] = {
    "layers": LayersContract,
    "forbidden": ForbiddenContract,
    "protected": ProtectedContract,
}

# For every contract the imports, any one of which must break it.
FORBIDDEN_IMPORTS = {
    "floors": [
        ("app.errors", "app.db"),
        ("app.db", "app.models"),
        ("app.deid", "app.storage"),
        ("app.standards", "app.schemas"),
        ("app.storage", "app.audit"),
        ("app.engines", "app.gate"),
        ("app.catalog", "app.requests"),
        ("app.portal", "app.routers"),
        ("app.extracts", "app.routers"),
        ("app.workbench", "app.demo"),
    ],
    "gate": [("app.cohorts", "app.gate"), ("app.withdrawals", "app.gate"), ("app.routers", "app.gate")],
    "crosswalk": [("app.extracts", "app.crosswalk"), ("app.cli", "app.crosswalk")],
    "engines": [("app.extracts", "app.engines"), ("app.catalog", "app.engines")],
    "ledger": [("app.cohorts", "app.ledger"), ("app.requests", "app.ledger")],
    "rights": [("app.routers", "app.permits"), ("app.engines", "app.consents")],
    "vault": [("app.extracts", "app.storage.vault"), ("app.gate", "app.storage.vault")],
    "outbox": [("app.cohorts", "app.storage.outbox"), ("app.engines", "app.storage.outbox")],
    "memory": [("app.extracts", "app.storage.memory"), ("app.engines", "app.storage.memory")],
    "inbox": [("app.extracts", "app.storage.inbox"), ("app.engines", "app.storage.inbox")],
    "web": [("app.cli", "app.routers"), ("app.cli", "app.portal")],
    "handlers": [("app.routers", "app.db"), ("app.portal", "sqlalchemy"), ("app.routers", "app.models")],
    "verifier": [
        ("app.deid.verify", "app.deid.anonymity"),
        ("app.deid.verify", "app.deid.transforms"),
        ("app.deid.verify", "app.deid.hierarchies"),
    ],
    "pure": [
        ("app.deid", "sqlalchemy"),
        ("app.standards", "app.settings"),
        ("app.auth.policy", "app.clock"),
        ("app.auth.policy", "fastapi"),
    ],
    "workbench": [
        ("app.workbench", "app.engines"),
        ("app.workbench", "app.settings"),
        ("app.workbench", "sqlalchemy"),
    ],
    "demo": [("app.demo", "app.settings"), ("app.demo", "app.gate"), ("app.demo", "app.db")],
}


@cache
def contract_options() -> dict[str, dict[str, object]]:
    options = api.read_configuration(str(ROOT / "pyproject.toml"))["contracts_options"]
    return {option["id"]: option for option in options}


@cache
def import_graph() -> grimp.ImportGraph:
    return grimp.build_graph("app", include_external_packages=True, cache_dir=None)


def is_kept(contract: str, graph: grimp.ImportGraph) -> bool:
    options = contract_options()[contract]
    checked = CONTRACT_TYPES[str(options["type"])](
        name=contract,
        session_options={"root_packages": ["app"], "include_external_packages": "True"},
        contract_options={key: value for key, value in options.items() if key not in {"id", "name", "type"}},
    )
    return checked.check(graph=graph, verbose=False).kept


def run_lint_imports(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.path.insert(0, ''); from importlinter.cli import lint_imports_command as c; c()"
    command = [sys.executable, "-c", code, "--no-cache", "--no-logo", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_import_contracts_are_kept():
    done = run_lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_contract_has_a_planted_import_that_breaks_it():
    assert set(FORBIDDEN_IMPORTS) == set(contract_options())


@pytest.mark.parametrize(
    ("contract", "importer", "imported"),
    [(contract, *pair) for contract, pairs in FORBIDDEN_IMPORTS.items() for pair in pairs],
)
def test_a_planted_import_breaks_its_contract(contract: str, importer: str, imported: str):
    assert is_kept(contract, import_graph())
    graph = copy.deepcopy(import_graph())
    if imported not in graph.modules:
        graph.add_module(imported, is_squashed=True)
    graph.add_import(importer=importer, imported=imported)
    assert not is_kept(contract, graph)


@pytest.mark.again
@pytest.mark.parametrize(
    ("contract", "file", "source"),
    [
        ("floors", "app/catalog/planted.py", "from app.requests import anything"),
        ("floors", "app/planted/__init__.py", ""),
        ("vault", "app/extracts/planted.py", "def read():\n    from app.storage import vault"),
        (
            "pure",
            "app/deid/planted.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import sqlalchemy",
        ),
    ],
    ids=["siblings", "room-outside-the-plan", "protected-in-a-function", "forbidden-for-types"],
)
def test_the_command_refuses_a_planted_file(tmp_path: Path, contract: str, file: str, source: str):
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(source)
    done = run_lint_imports(tmp_path, "--contract", contract)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "planted" in done.stdout


# --- (b) what import contracts cannot see -------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """One Python file, by its path inside the repository."""

    path: str
    text: str
    modules: frozenset[str]

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of the tree, walked once for all rules."""
        return tuple(ast.walk(self.tree))

    def within(self, *places: str) -> bool:
        return any(self.path == place or self.path.startswith(f"{place}/") for place in places)


def dotted(node: ast.expr) -> str:
    """The dotted name an expression spells, or nothing."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := dotted(node.value)):
        return f"{owner}.{node.attr}"
    return ""


def calls(source: Source) -> Iterator[tuple[ast.Call, str]]:
    """Every call with the last part of the name it calls, whatever it is called on."""
    for node in source.nodes:
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else dotted(called)
            yield node, name


def strings(source: Source) -> Iterator[ast.Constant]:
    return (n for n in source.nodes if isinstance(n, ast.Constant) and isinstance(n.value, str))


IMPORTERS = {"import_module", "__import__", "find_spec", "spec_from_file_location", "module_from_spec"}
IMPORTERS |= {"run_module", "run_path", "resolve_name", "eval", "exec", "reload"}


def imports_by_string(source: Source) -> Iterator[int]:
    """Imports that no contract sees; a package may scan its own folder, by names under its own."""
    for call, name in calls(source):
        if name in IMPORTERS and not (name == "import_module" and scans_own_folder(source, call)):
            yield call.lineno
    for node in source.nodes:
        if isinstance(node, ast.ImportFrom) and node.module in {"importlib", "runpy", "pkgutil", "builtins"}:
            yield from (node.lineno for alias in node.names if alias.name in IMPORTERS)
        if isinstance(node, ast.Attribute) and dotted(node) == "sys.modules":
            yield node.lineno
    if not source.within("app/cli.py", "app/cli"):
        loadable = re.compile(r"app(\.\w+)+:\w+")
        yield from (node.lineno for node in strings(source) if loadable.fullmatch(str(node.value)))


def scans_own_folder(source: Source, call: ast.Call) -> bool:
    """Whether the call is `import_module(f"{__name__}.{found}")` in a package's own `__init__.py`."""
    name = call.args[0] if call.args else None
    if not (source.path.endswith("/__init__.py") and isinstance(name, ast.JoinedStr) and name.values):
        return False
    first = name.values[0]
    return isinstance(first, ast.FormattedValue) and dotted(first.value) == "__name__"


def reaches_by_attribute(source: Source) -> Iterator[int]:
    """Modules of ours reached through a package's attribute, without the import that a contract would see."""
    names: dict[str, str] = {}
    imported: set[str] = set()
    for node in source.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                imported.add(alias.name)
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                imported |= {node.module, f"{node.module}.{alias.name}"}
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in source.nodes:
        if isinstance(node, ast.Attribute) and (spelled := dotted(node)):
            head, _, rest = spelled.partition(".")
            reached = f"{names[head]}.{rest}" if head in names else ""
            covered = any(name == reached or name.startswith(f"{reached}.") for name in imported)
            if reached in source.modules and not covered:
                yield node.lineno


def makes_released(source: Source) -> Iterator[int]:
    """`Released` made, copied under another name, or extended outside the gate."""
    if source.path == "app/gate/door.py":
        return
    for node in source.nodes:
        if isinstance(node, ast.Call):
            made = "Released" in dotted(node.func).split(".")
            unmade = dotted(node.func).endswith("__new__") and "Released" in map(dotted, node.args)
            if made or unmade:
                yield node.lineno
        elif isinstance(node, ast.ClassDef):
            if any(dotted(base).split(".")[-1] == "Released" for base in node.bases):
                yield node.lineno
        elif isinstance(node, ast.ImportFrom):
            yield from (
                node.lineno for a in node.names if a.name == "Released" and a.asname not in {None, a.name}
            )


def commits(source: Source) -> Iterator[int]:
    """A transaction ended, or begun so that it ends itself, outside the one file that may."""
    if source.path == "app/db.py":
        return
    yield from (call.lineno for call, name in calls(source) if name in {"commit", "begin"})
    endings = {"COMMIT", "COMMIT;", "END TRANSACTION", "AUTOCOMMIT"}
    yield from (n.lineno for n in strings(source) if str(n.value).strip().upper() in endings)


def prints(source: Source) -> Iterator[int]:
    """Output past the log, where a row's value could appear unseen."""
    if not source.within("app/cli.py", "app/cli", "app/demo.py", "app/demo"):
        yield from (c.lineno for c, name in calls(source) if name == "print")
        yield from (
            node.lineno
            for node in source.nodes
            if isinstance(node, ast.Attribute) and dotted(node) in {"sys.stdout", "sys.stderr"}
        )


def is_a_drawer(source: Source) -> Iterator[int]:
    """A module named for nothing in particular collects everything."""
    drawers = r"(utils?|helpers?|commons?|managers?|misc)"
    if any(re.fullmatch(drawers, part) for part in source.path.removesuffix(".py").split("/")):
        yield 1


def opens_without_promise(source: Source) -> Iterator[int]:
    """A file whose first statement is not a docstring."""
    if not ast.get_docstring(source.tree):
        yield 1


Rule = Callable[[Source], Iterator[int]]

# Each rule with files that must be refused, and files that look alike and must pass.
RULES: dict[Rule, tuple[list[tuple[str, str]], list[tuple[str, str]]]] = {
    imports_by_string: (
        [
            ("app/extracts/service.py", "import importlib\nimportlib.import_module('app.storage.vault')"),
            ("app/extracts/service.py", "from importlib import import_module as load"),
            ("app/extracts/service.py", "__import__('app.storage.vault')"),
            ("app/extracts/service.py", "import sys\nvault = sys.modules['app.storage.vault']"),
            ("app/extracts/service.py", "import pkgutil\npkgutil.resolve_name('app.storage.vault:read')"),
            ("app/extracts/service.py", "import importlib\nimportlib.import_module(f'{__name__}.x')"),
            ("app/engines/__init__.py", "import importlib\nimportlib.import_module(f'app.{name}')"),
            ("app/main/rooms.py", "serve('app.storage.vault:read')"),
        ],
        [
            ("app/engines/__init__.py", "import importlib\nimportlib.import_module(f'{__name__}.{found}')"),
            ("app/standards/duo.py", "from importlib import resources"),
            ("app/cli.py", "uvicorn.run('app.main:service', factory=True)"),
        ],
    ),
    reaches_by_attribute: (
        [
            ("app/extracts/service.py", "from app import storage\nstorage.vault.read()"),
            ("app/extracts/service.py", "import app.storage\napp.storage.vault.read()"),
            ("app/extracts/service.py", "import app.storage as places\nplaces.vault.read()"),
        ],
        [
            ("app/engines/duckdb.py", "import app.storage.vault\napp.storage.vault.read()"),
            ("app/engines/duckdb.py", "from app.storage import vault\nvault.read()"),
            ("app/extracts/service.py", "self.storage.vault.read()"),
        ],
    ),
    makes_released: (
        [
            ("app/extracts/service.py", "from app.gate import Released\nRelease = Released(parts=[])"),
            ("app/extracts/service.py", "import app.gate\napp.gate.Released.model_construct()"),
            ("app/extracts/service.py", "object.__new__(Released)"),
            ("app/extracts/service.py", "from app.gate import Released as Parts"),
            ("app/extracts/service.py", "class Mine(Released):\n    pass"),
        ],
        [
            ("app/gate/door.py", "Released(parts=[])"),
            ("app/extracts/service.py", "def deliver(parts: Released) -> None: ..."),
        ],
    ),
    commits: (
        [
            ("app/catalog/service.py", "session.commit()"),
            ("app/catalog/service.py", "with engine.begin() as connection:\n    pass"),
            ("app/catalog/service.py", "connection.execute(text('commit'))"),
            ("app/catalog/service.py", "engine.execution_options(isolation_level='AUTOCOMMIT')"),
        ],
        [
            ("app/db.py", "session.commit()"),
            ("app/catalog/service.py", "with session.begin_nested():\n    pass"),
        ],
    ),
    prints: (
        [
            ("app/engines/duckdb.py", "print(row)"),
            ("app/engines/duckdb.py", "import sys\nsys.stderr.write(row)"),
            ("app/engines/duckdb.py", "import rich\nrich.print(row)"),
        ],
        [("app/cli.py", "print('ready')"), ("app/demo/story.py", "print('ready')")],
    ),
    is_a_drawer: (
        [("app/catalog/utils.py", ""), ("app/helpers/__init__.py", ""), ("tests/unit/common.py", "")],
        [("app/catalog/search.py", "")],
    ),
    opens_without_promise: (
        [("app/catalog/search.py", ""), ("app/catalog/search.py", "# a comment\nimport os")],
        [("app/catalog/search.py", '"""Finds."""')],
    ),
}
EVERYWHERE = {is_a_drawer, opens_without_promise}


def sources() -> Iterator[Source]:
    files = [path for path in repository_files() if path.suffix == ".py"]
    modules = frozenset(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in files
        if path.is_relative_to(ROOT / "app")
    )
    for path in files:
        yield Source(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"), modules)


@cache
def broken() -> dict[Rule, list[str]]:
    """Where each rule is broken. Each file is read and parsed once for all rules, and let go before the next."""
    found: dict[Rule, list[str]] = {rule: [] for rule in RULES}
    read = dict.fromkeys(RULES, 0)
    for source in sources():
        for rule in RULES if source.within("app") else EVERYWHERE:
            read[rule] += 1
            found[rule] += [f"{source.path}:{line}" for line in rule(source)]
    assert all(read.values())
    return found


def rule_name(rule: Rule) -> str:
    return rule.__name__


def planted(which: int) -> list[tuple[Rule, str, str]]:
    return [(rule, *case) for rule, cases in RULES.items() for case in cases[which]]


@pytest.mark.parametrize("rule", RULES, ids=rule_name)
def test_the_house_keeps_the_rule(rule: Rule):
    assert broken()[rule] == []


@pytest.mark.parametrize(("rule", "path", "text"), planted(0))
def test_a_planted_fault_is_found(rule: Rule, path: str, text: str):
    assert list(rule(Source(path, text, frozenset({"app.storage", "app.storage.vault"}))))


@pytest.mark.parametrize(("rule", "path", "text"), planted(1))
def test_what_only_looks_alike_passes(rule: Rule, path: str, text: str):
    assert not list(rule(Source(path, text, frozenset({"app.storage", "app.storage.vault"}))))


# --- (c) no trace of one machine ----------------------------------------------------------------------------

# Written in two parts, so that this file does not name what no file may name.
REGISTRIES = [
    "pypi" + ".org",
    "python" + "hosted.org",
    "npmjs" + ".org",
    "npmjs" + ".com",
    "conda.ana" + "conda.org",
]
REGISTRIES += ["maven" + ".org", "maven.apache" + ".org", "crates" + ".io", "proxy.golang" + ".org"]
REGISTRIES += ["ruby" + "gems.org"]
TRACE = re.compile(
    "|".join(map(re.escape, REGISTRIES)).encode() + rb"|(?<![\w.:/\-}])/(?:wo" + rb"rk|ro" + rb"ot)/"
)


def repository_files() -> list[Path]:
    """What belongs to the repository: as git says, or, in a copy without git, all but what the tools made."""
    command = [
        "git",
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    listed = (
        subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
        if (ROOT / ".git").exists()
        else None
    )
    if listed and listed.returncode == 0:
        found = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        found = [
            path
            for path in ROOT.rglob("*")
            if not set(path.relative_to(ROOT).parts) & {"var", "__pycache__"}
            and not re.match(
                r"\.(?!ci/|env\.example|gitignore|dockerignore)", path.relative_to(ROOT).as_posix()
            )
        ]
    return sorted(path for path in found if path.is_file())


def test_no_file_names_a_registry_or_a_path_of_one_machine():
    files = repository_files()
    assert ROOT / "pyproject.toml" in files
    assert [path.relative_to(ROOT).as_posix() for path in files if TRACE.search(path.read_bytes())] == []


@pytest.mark.parametrize(
    "text",
    [f"index-url = https://{host}/simple" for host in REGISTRIES]
    + ["cd /wo" + "rk/main", "'/ro" + "ot/.cache/'"],
)
def test_a_planted_trace_is_found(text: str):
    assert TRACE.search(text.encode())


def test_an_address_is_no_trace():
    assert not TRACE.search(b"https://example.org/wo" + b"rk/1 and ./wo" + b"rk/ and {base}/ro" + b"ot/")
