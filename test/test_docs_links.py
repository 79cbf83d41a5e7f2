"""Links, anchors and file names in the tracked Markdown files lead to targets that exist; prose is wrapped."""

import re
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(\s*([^()\s]+)\s*\)")
FILE = re.compile(r"(?:vla_ros|bench|config|docs|examples|experiments|faults|launch|test)(?:/[\w.-]+)+/?")
MAX_COLUMNS = 100
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


def pages() -> list[Path]:
    """The Markdown files of the checkout: the tracked ones, or every one where there is no git repository."""
    git = ["git", "-C", str(ROOT), "ls-files", "-z", "--", "*.md"]
    found = subprocess.run(git, capture_output=True, text=True, check=False)
    if found.returncode == 0 and found.stdout:
        return sorted({file for name in found.stdout.split("\0") if name and (file := ROOT / name).is_file()})
    return sorted(p for p in ROOT.rglob("*.md") if not any(part.startswith(".") for part in p.relative_to(ROOT).parts))


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub gives to the headings of a page."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    counts: Counter[str] = Counter()
    names = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))
    for heading in re.findall(r"^#{1,6} +(.*?) *#*$", text, re.MULTILINE):
        shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        names.add(slug if not counts[slug] else f"{slug}-{counts[slug]}")
        counts[slug] += 1
    return frozenset(names)


def broken_links(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    text = re.sub(r"`[^`]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    broken = []
    for link in LINK.findall(text):
        if ELSEWHERE.match(link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        resolves = target.exists() and target.is_relative_to(ROOT)
        if not resolves or (anchor and (target.suffix != ".md" or anchor not in anchors(target))):
            broken.append(link)
    return broken


def missing_files(page: Path) -> list[str]:
    """The files of the repository that a page names in code spans and that do not exist."""
    spans = re.findall(r"`([^`]+)`", FENCE.sub("", page.read_text(encoding="utf-8")))
    return [span for span in spans if FILE.fullmatch(span) and not (ROOT / span).exists()]


def long_lines(page: Path) -> list[int]:
    """Numbers of the lines of prose that exceed `MAX_COLUMNS`; tables, code and single unbreakable words may."""
    text = FENCE.sub(lambda block: "\n" * block[0].count("\n"), page.read_text(encoding="utf-8"))
    return [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > MAX_COLUMNS and not line.startswith("    ") and line.lstrip()[0] != "|" and " " in line.strip()
    ]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_is_wrapped(page: Path) -> None:
    assert long_lines(page) == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_resolves(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize(
    "page", [p for p in pages() if p.name != "CHANGELOG.md"], ids=lambda p: str(p.relative_to(ROOT))
)
def test_every_file_that_is_named_exists(page: Path) -> None:
    assert missing_files(page) == []


def test_a_broken_link_and_a_broken_anchor_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "other.md").write_text("# One head: a `b`\n\n## Twice\n\n## Twice\n\n```\n# no heading\n```\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n[a](other.md) [b](other.md#one-head-a-b) [c](#page) [d](other.md#twice-1) [e](https://x.org/y.md)\n"
        "`[f](code.md)`\n```\n[g](fenced.md)\n```\n"
    )
    assert broken_links(page) == []
    page.write_text(
        "[a](missing.md) [b](other.md#no-heading) [c](#none) [wrapped\ntext](other.md#twice-2) [![d](no.png)](other.md)"
    )
    assert broken_links(page) == ["missing.md", "other.md#no-heading", "#none", "other.md#twice-2", "no.png"]


def test_a_missing_file_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "`test/test_docs_links.py` `config/robots/` `docs/missing.md` `./vla test` `test/core -q` `runs/demo`\n"
    )
    assert missing_files(page) == ["docs/missing.md"]


def test_a_long_line_of_prose_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    words, link = "word " * 21, f"[link](https://x.org/{'y' * 100})"
    page.write_text(f"{'é' * 99} a\n{words}\n| {words} |\n\n    {words}\n```\n{words}\n```\n{link}\n- {words}\n")
    assert long_lines(page) == [1, 2, 10]
