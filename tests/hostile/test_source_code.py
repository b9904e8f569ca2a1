"""What our own source must never hold: ways to run what a file says."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for room in ("fqconsole", "kernels", "quantizer", "store", "benchmarks")
    for path in (ROOT / room).rglob("*.py")
)
MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
NAMES = {"eval", "exec", "__import__"}
ATTRIBUTES = {("os", "system"), ("os", "popen"), ("torch", "load"), ("yaml", "load"), ("pickle", "loads")}
KEYWORDS = {"trust_remote_code": True, "shell": True, "allow_pickle": True, "weights_only": False}


def findings(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            if MODULES & {name.partition(".")[0] for name in names}:
                yield node.lineno, f"import of {names}"
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id in NAMES:
            yield node.lineno, called.id
        if isinstance(called, ast.Attribute) and (ast.unparse(called.value), called.attr) in ATTRIBUTES:
            yield node.lineno, ast.unparse(called)
        for keyword in node.keywords:
            value = keyword.value
            if keyword.arg in KEYWORDS and not (
                isinstance(value, ast.Constant) and value.value is not KEYWORDS[keyword.arg]
            ):
                yield node.lineno, f"{keyword.arg}={ast.unparse(value)}"


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(path)",
        "eval(text)",
        "f(trust_remote_code=chosen)",
        "subprocess.run(line, shell=True)",
    ],
)
def test_the_search_finds_what_it_looks_for(code):
    assert list(findings(ast.parse(code)))


def test_nothing_of_ours_runs_what_a_file_says():
    assert len(SOURCES) > 200
    found = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in SOURCES
        for line, what in findings(ast.parse(path.read_text()))
    ]
    assert found == []
