"""Draws `docs/world.png`: the rendered yard at eight moments, with the embedded model's answers under them."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from embedded import NO_SIGNATURE, answer, lay_out
from numpy.typing import NDArray

from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.model.video_lm import VideoLM
from longwatch.memory.block import Block
from longwatch.yard.asker import Asker
from longwatch.yard.kinds import QUESTION_KINDS, agrees
from longwatch.yard.moment import Moment
from longwatch.yard.scene import Scene

KINDS = ("there now", "count now", "door now", "lamp now", "gate now", "sign now", "extra", "side")
LINE, ASKED = 24, 4
GREEN, RED, BLACK = (40, 130, 30), (40, 40, 200), (0, 0, 0)


def moments(count: int) -> list[tuple[Scene, int]]:
    """Yards by day, by night, in rain and with things left behind, each where much is to be seen."""
    found = []
    for seed in range(93_500, 93_500 + count):
        scene = Scene(seed=seed, busy=0.5, start_ns=(seed * 5 % 24) * 3600 * 10**9)
        states = {t: scene.state(t) for t in range(30, 1800, 7)}
        fair = [t for t, state in states.items() if state.fair]
        found.append((scene, max(fair, key=lambda t: min(3, len(states[t].things)) + states[t].rain)))
    return found


def tile(lm: VideoLM, scene: Scene, t: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture, and under it four questions with what the model says, in red where it is wrong."""
    time_ns = scene.start_ns + t * 10**9
    image, window = scene.render(t), lm.new_window()
    keys, values = lm.prefill_blocks(lm.embed_frames([image], [time_ns]), window)
    asker = Asker([Moment(time_ns, time_ns, scene.state(t))], rng)
    block = Block(block_id=1, start_ns=time_ns, end_ns=time_ns, keys=keys[0], values=values[0], signature=NO_SIGNATURE)
    context = lay_out(lm, [block])
    drawn = np.full((image.shape[0] + LINE * ASKED + 8, image.shape[1], 3), 255, np.uint8)
    drawn[: image.shape[0]] = image
    questions = [q for kind in rng.permutation(KINDS) if (q := QUESTION_KINDS[str(kind)].draw(asker)) is not None]
    for i, question in enumerate(questions[:ASKED]):
        said = answer(lm, context, question.text)
        y = image.shape[0] + LINE * i + 20
        cv2.putText(drawn, question.text, (4, y), cv2.FONT_HERSHEY_SIMPLEX, 0.4, BLACK, 1, cv2.LINE_AA)
        (width, _), _ = cv2.getTextSize(question.text, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)
        colour = GREEN if agrees(question, said) else RED
        cv2.putText(drawn, said, (12 + width, y), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)
    return drawn


def main() -> None:
    """Writes the page of pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/world.png"))
    options = parser.parse_args()
    lm, rng = VideoLM.load(ModelConfig(name="embedded")), np.random.default_rng(5)
    tiles = [tile(lm, scene, t, rng) for scene, t in moments(8)]
    options.out.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(options.out), np.vstack([np.hstack(tiles[i : i + 4]) for i in (0, 4)]))
    print(f"{options.out}: the world at eight moments")


if __name__ == "__main__":
    main()
