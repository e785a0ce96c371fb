"""The README's Python runs as it stands, and its commands are the ones that continuous integration uses."""

import re
from pathlib import Path

from minigen.autograd import registry

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_blocks_run_in_order():
    before = set(registry)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 2
    try:
        for block in blocks:
            exec(compile(block, "README.md", "exec"), {})
        assert set(registry) - before == {"squareplus"}
    finally:
        registry.pop("squareplus", None)


def test_commands_stand_at_the_top():
    commands = re.findall(r"^pip install .*$", README, re.MULTILINE)[:2]
    assert commands == ['pip install -e ".[examples]" && python examples/ddpm.py', 'pip install -e ".[test]" && pytest']


def test_files_that_the_readme_names_exist():
    named = re.findall(r"`((?:minigen|kernels|examples|tests)/[\w/.]*)`", README)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / picture).exists(), picture
