"""examples/text_to_image.py: painting by a network that is trained, and what is said where it cannot."""

import pytest

from .small import run_script

for module in ("tqdm", "matplotlib", "PIL", "tokenizers"):
    pytest.importorskip(module)

SCRIPT = """
from pathlib import Path
from minigen.contrastive import CLIP
out = Path({out!r}) / "painter"

def paint(*arguments):
    sys.argv = ["text_to_image.py", "--out", str(out), *map(str, arguments)]
    try:
        example.main()
    except SystemExit as end:
        print("ended:", end.code)
    except minigen.serialization.CheckpointError as error:
        print("no checkpoint:", error)

paint("a star")
print("-- trained", run(out, "a star"))
(out / "prompts.png").rename(out / "first.png")
paint("a star")
print("-- same", (out / "first.png").read_bytes() == (out / "prompts.png").read_bytes())
paint("a star", "--negative", "a red star", "--scale", 5)
print("-- other", (out / "first.png").read_bytes() != (out / "prompts.png").read_bytes())
paint("star " * 40)
run(out, "--negative", "star " * 50)
paint("a star", "--check")
paint("a star", "--clip", out / "typo")
paint("a star", "--clip", out / "model.safetensors")
clip = CLIP.load(out.parent / "clip" / "clip.safetensors")
clip.log_scale.assign_(clip.log_scale.data + 1)
clip.save(out / "other.safetensors")
paint("a star", "--clip", out / "other.safetensors")
"""


def test_sentences_are_painted_and_what_is_missing_is_named(tmp_path):
    done = run_script("text_to_image", None, SCRIPT.format(out=str(tmp_path)))
    said = done.stdout
    assert "model.safetensors is not there: --train writes it" in said
    assert "-- trained 0" in said and "-- same True" in said and "-- other True" in said
    assert "ended: Tokenizer: a text may have 30 pieces, got 40: 'star star" in said
    assert "a text may have 30 pieces, got 50" in done.stderr
    assert "--check is of what --train measures: give both" in done.stderr
    assert "typo is not there: examples/clip.py writes it" in said
    assert "model.safetensors holds no CLIP: it has digest, network" in said
    assert "was trained with another CLIP or autoencoder" in said
