"""Every `./vla train` command and every recipe in the documentation is a valid training configuration."""

import re
import shlex
from pathlib import Path

import pytest

from vla_ros.train.config import load_config

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(text: str) -> list[str]:
    """The training commands of the code blocks of a page, without comments."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if re.match(r"\./vla train\b|torchrun .*vla_ros\.train\b", line)]


COMMANDS = [(page.name, line) for page in PAGES for line in commands(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_training_command_has_valid_settings(page: str, command: str) -> None:
    words = shlex.split(command, comments=True)
    load_config(None, [word for word in words if re.match(r"[a-z][\w.]*=", word) and not word.startswith("config=")])


def test_there_are_training_commands() -> None:
    assert len(COMMANDS) >= 8


def test_the_recipe_with_a_backbone_is_valid(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "policies" / "images.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "recipe.yaml").write_text(recipe, encoding="utf-8")
    config = load_config(tmp_path / "recipe.yaml")
    assert (config.network.encoder, config.network.head, config.network.transformer.width) == ("siglip", "flow", 256)
