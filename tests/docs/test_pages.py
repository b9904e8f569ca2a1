"""The pages hang together: links lead somewhere, every page is listed, what is generated can be made."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def anchors(page):
    """The names that headings get, as the site and code hosts make them."""
    headings = re.findall(r"^#+ +(.*)$", page.read_text(), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).strip().replace(" ", "-")
        for heading in headings
    }


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text()):
        if "://" in link or link.startswith("mailto:"):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        if "reference" in Path(place).parts:
            assert place in generated().PAGES
            continue
        assert target.exists(), f"{page.name} links to {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page.name} links to {link}"


def test_every_page_is_in_the_list():
    listed = re.findall(r"[\w./-]+\.md", (ROOT / "mkdocs.yml").read_text())
    assert {page.name for page in PAGES} <= set(listed)
    assert {name for name in listed if not name.startswith("reference/")} <= {page.name for page in PAGES}
    assert {name for name in listed if name.startswith("reference/")} == set(generated().PAGES)


def generated():
    """The hook that makes pages from the code."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "_site" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_names_every_command_request_event_setting_and_function():
    pages = {name: make() for name, make in generated().PAGES.items()}
    for command in ("quantize", "runs export", "serve-command", "config init"):
        assert f"## fqconsole {command}\n" in pages["reference/commands.md"]
    for message in ("StartQuantize", "MatrixDone", "JobFailed", "TokensGenerated"):
        assert f"## {message}\n" in pages["reference/messages.md"]
    assert "reduced_motion" in pages["reference/settings.md"]
    for name in ("open_session", "make_plan", "quantize", "linear", "Sampling"):
        assert f"### {name}\n" in pages["reference/python.md"]


def sentences():
    """Every text in our source, with … for what is filled in."""
    for room in ("fqconsole", "quantizer", "store", "kernels"):
        for file in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def test_every_message_of_the_page_for_troubles_is_one_that_the_program_says():
    messages = re.findall(r'^### "(.*)"$', (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(messages) > 15
    said = list(sentences())
    for message in messages:
        assert any(message in sentence or message == f"… {sentence}" for sentence in said), message
