"""The repository as a whole: what no file may say, what every module must have, and what installing needs."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GENERATED = {"runs", "build", "dist", "__pycache__"}
MODULES = sorted((ROOT / "backflip").rglob("*.py"))
MAX_LINES = 500

# One machine's folders, and hosts that pip is told of by its user and not by us. Written so as not to find themselves.
FORBIDDEN = {
    "a machine's path": re.compile(r"(?<![\w.<>~}-])/(?:work|root|home|opt|mnt|Users)/\w"),
    "a file address": re.compile(r"file:[/]{2}"),
    "a package host": re.compile(r"pypi[.]org|pythonhosted[.]org|download[.]pytorch[.]org|-index[-]url"),
}


def texts() -> Iterator[tuple[Path, str]]:
    for folder, names, files in os.walk(ROOT):
        hidden = {name for name in names if name.startswith(".") and name != ".ci"}
        names[:] = [n for n in names if n not in hidden | GENERATED and not n.endswith(".egg-info")]
        for name in files:
            path = Path(folder, name)
            try:
                yield path.relative_to(ROOT), path.read_text(encoding="utf-8")
            except (UnicodeDecodeError, FileNotFoundError):  # an image; a file that a parallel test deleted
                continue


def test_no_text_names_a_machine_or_a_package_host() -> None:
    found = [
        f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {what}: {match.group()!r}"
        for path, text in texts()
        for what, pattern in FORBIDDEN.items()
        for match in pattern.finditer(text)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see /wo" + "rk/x", True),
        ("network/works", False),
        ("../shared/data", False),
        ("https://example.org/ho" + "me/x", False),
        ("fi" + "le:///x", True),
    ],
)
def test_the_patterns_find_what_they_should(text: str, found: bool) -> None:
    assert any(pattern.search(text) for pattern in FORBIDDEN.values()) is found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is_and_what_it_offers(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    targets = [t for node in tree.body if isinstance(node, ast.Assign) for t in node.targets]
    targets += [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
    assert "__all__" in {t.id for t in targets if isinstance(t, ast.Name)}
    assert text.count("\n") <= MAX_LINES


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_constraints_pin_all_that_the_project_names() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [re.fullmatch(r"([\w.-]+)==([\w.]+)", line) for line in lines if not line.startswith("#")]
    assert all(pins), "a line of constraints.txt is not name==version"
    pinned = {canonical(pin[1]): pin[2] for pin in pins if pin}
    assert pinned["torch"] == "2.13.0"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = project["dependencies"] + [d for extra in project["optional-dependencies"].values() for d in extra]
    names = {canonical(re.match(r"[\w.-]+", requirement)[0]) for requirement in named} - {"backflip"}
    assert names <= set(pinned)
    assert all(">=" in requirement and "=" not in requirement.split(">=")[1] for requirement in project["dependencies"])


def test_make_help_lists_the_two_commands() -> None:
    done = subprocess.run(["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True)
    assert {"demo", "test"} <= {line.split()[0] for line in done.stdout.splitlines() if line.strip()}


def test_make_refuses_a_python_that_is_too_old(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    old = tmp_path / "python-old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = subprocess.run(
        ["make", ".venv/bin/python", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode
    assert f"no usable Python among: {old}; wanted 3.11 or newer" in done.stderr


@pytest.mark.parametrize(("ci", "workers", "code"), [("true", "0", 1), ("true", "1", 1), ("", "0", 0)])
def test_a_skip_fails_with_ci_only(tmp_path: Path, ci: str, workers: str, code: int) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "test_one.py").write_text(
        "import pytest\n\ndef test_a():\n    pytest.skip('no moon')\n\ndef test_b():\n    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "xdist", "-n", workers, "-c", "/dev/null", "--rootdir", ".", "."],
        cwd=tmp_path,
        env={**os.environ, "CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout
    assert ("test_one.py::test_a: Skipped: no moon" in done.stdout) is bool(code)
    assert "1 passed, 1 skipped" in done.stdout


@pytest.mark.parametrize("ci", ["true", ""])
def test_debian_packages_are_installed_with_ci_as_root_and_otherwise_named(tmp_path: Path, ci: str) -> None:
    """The tools that it calls are stand-ins: no package is there, and what would be installed is written down."""
    called = tmp_path / "called"
    tools = {"dpkg-query": "exit 1", "apt-get": f'echo "$@" >> {called}'}
    for name, does in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "CI": ci, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([ROOT / ".ci/packages"], env=environment, capture_output=True, text=True, check=True)
    names = [line.split("#")[0].strip() for line in (ROOT / "packages.txt").read_text().splitlines()]
    wanted = " ".join(name for name in names if name)
    if ci and os.geteuid() == 0:
        assert called.read_text() == f"-qq update\n-qq install --yes --no-install-recommends {wanted}\n"
    else:
        assert not called.exists()
        assert f"tests that need these Debian packages will be skipped: {wanted}\n" in done.stdout
        assert f"to have them: sudo apt-get install --yes {wanted}\n" in done.stdout
