"""Stage 1: vision tower and projector. Each visual token learns to be the sum of the words for what is in its cell.

A frame has 16 cells. One with a red car becomes `red + car`, the door's cell `door + open`. So the language stage
starts from tokens that already mean something to the text model.
"""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional

from longwatch.yard.paint import VARIANTS, paint
from longwatch.yard.state import (
    CELL_WIDTH,
    COLOURS,
    DOOR_CELL,
    EXTRAS,
    GATE_CELL,
    KINDS,
    LAMP_CELL,
    SIGN_CELL,
    WIDTH,
    State,
    Thing,
)

from . import pair
from .checkpoint import IMAGE_PIXELS, new_model, save, visual_tokens
from .precision import autocast
from .tokenizer import build as build_tokenizer

UNSURE = -1
TASKS = {
    "kind": len(KINDS) + 1,
    "colour": len(COLOURS) + 1,
    "extra": len(EXTRAS) + 1,
    "door": 2,
    "lamp": 2,
    "gate": 2,
    "digit": 10,
}
_OF_THINGS = ("kind", "colour", "extra")


def random_state(rng: np.random.Generator) -> State:
    """A yard with up to two things in each lane, anywhere in it, in any light."""
    things: list[Thing] = []
    for lane in (1, 2, 3):
        if rng.random() < 0.6:
            x = rng.uniform(-30, WIDTH + 30)
            things.append(_random_thing(lane, x, rng))
            if rng.random() < 0.25:
                things.append(_random_thing(lane, x + CELL_WIDTH * rng.choice([-1, 1]), rng))
    return State(
        tuple(thing for thing in things if -30 <= thing.x <= WIDTH + 30),
        *(bool(v) for v in rng.integers(0, 2, 3)),
        digit=int(rng.integers(10)),
        light=rng.uniform(0.84, 1.16) if rng.random() < 0.6 else rng.uniform(0.38, 0.84),
        rain=bool(rng.random() < 0.2),
        shake=tuple(rng.integers(-2, 3, 2).tolist()) if rng.random() < 0.15 else (0, 0),
    )


def _random_thing(lane: int, x: float, rng: np.random.Generator) -> Thing:
    kind, colour = KINDS[rng.integers(len(KINDS))], list(COLOURS)[rng.integers(len(COLOURS))]
    extra = ("", *EXTRAS)[rng.integers(3)] if kind == "person" else ""
    return Thing(kind, colour, lane, x, extra)


def shrink(image: np.ndarray) -> torch.Tensor:
    """BGR picture → `[3, 96, 96]` uint8 RGB, resized as the daemon does."""
    pixels = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).permute(2, 0, 1)[None]
    return functional.interpolate(pixels, (IMAGE_PIXELS, IMAGE_PIXELS), mode="bicubic", antialias=True)[0]


def compress(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture after a lossy codec, as a network camera sends it."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 95))])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def labels_of(state: State) -> torch.Tensor:
    """`[16, 7]` int: each task's class in each cell; 0 is "nothing" for those about things."""
    columns = {name: i for i, name in enumerate(TASKS)}
    labels = torch.full((16, len(TASKS)), UNSURE)
    labels[4:, : len(_OF_THINGS)] = 0
    labels[DOOR_CELL, columns["door"]] = int(state.door_open)
    labels[LAMP_CELL, columns["lamp"]] = int(state.lamp_on)
    labels[GATE_CELL, columns["gate"]] = int(state.gate_open)
    labels[SIGN_CELL, columns["digit"]] = state.digit
    for thing in state.things:
        touched = [thing.lane * 4 + int(x // CELL_WIDTH) for x in (thing.x - 50, thing.x + 50) if 0 <= x < WIDTH]
        labels[touched, : len(_OF_THINGS)] = UNSURE
    for thing in state.things:
        if 12 <= thing.x <= WIDTH - 12 and 9 <= thing.x % CELL_WIDTH <= CELL_WIDTH - 9:
            extra = 1 + EXTRAS.index(thing.extra) if thing.extra else 0
            classes = (1 + KINDS.index(thing.kind), 1 + list(COLOURS).index(thing.colour), extra)
            labels[thing.cell, : len(_OF_THINGS)] = torch.tensor(classes)
    return labels


def word_targets(labels: torch.Tensor, words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum of words that each cell should become `[N, 16, 256]`, and in which cells it is known `[N, 16]`.

    A thing's cell also says on which side of the picture it lies: `red + car + left`.
    """
    tokenizer = build_tokenizer()

    def rows(*names: str) -> torch.Tensor:
        return words[[tokenizer.convert_tokens_to_ids(f"▁{name}") for name in names]]

    target = torch.zeros(*labels.shape[:2], words.shape[1])
    none = torch.zeros(1, words.shape[1])
    tables = {
        "kind": torch.cat([rows("nothing"), rows(*KINDS)]),
        "colour": torch.cat([none, rows(*COLOURS)]),
        "extra": torch.cat([none, rows(*EXTRAS)]),
        "door": rows("closed", "open") + rows("door"),
        "lamp": rows("off", "on") + rows("lamp"),
        "gate": rows("closed", "open") + rows("gate"),
        "digit": rows(*(str(d) for d in range(10))) + rows("number"),
    }
    for column, name in enumerate(TASKS):
        known = labels[..., column] >= 0
        target[known] += tables[name][labels[..., column][known]]
    cells = torch.arange(16)
    sides = rows("left", "right")[(cells % 4 >= 2).long()]
    target += (labels[..., :1] > 0) * sides
    return target, (labels >= 0).any(-1)


class Eyes(torch.nn.Module):
    """Vision tower and projector, with the linear heads that teach them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = new_model()
        with torch.no_grad():
            self.model.get_input_embeddings().weight.normal_(0, 1 / 16)
        self.heads = torch.nn.ModuleList(torch.nn.Linear(256, classes) for classes in TASKS.values())

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Visual tokens `[N, 16, 256]`, and each task's logits `[N, 16, classes]`."""
        tokens = visual_tokens(self.model, images)
        return tokens, [head(tokens) for head in self.heads]


def make_bank(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`count` frames of random yards: `[count, 3, 96, 96]` uint8 and their labels `[count, 16, 7]`."""
    rng = np.random.default_rng([seed, 1])
    images, labels = torch.empty(count, 3, IMAGE_PIXELS, IMAGE_PIXELS, dtype=torch.uint8), []
    for i in range(count):
        state = random_state(rng)
        picture = paint(state, int(rng.integers(VARIANTS)), rng)
        images[i] = shrink(compress(picture, rng) if rng.random() < 0.4 else picture)
        labels.append(labels_of(state))
    return images, torch.stack(labels)


def train(rank: int, folder: Path, frames: int, epochs: int, batch: int) -> None:
    """One of the processes. It makes its own frames and trains; rank 0 saves the checkpoint."""
    started = time.time()
    images, labels = make_bank(frames, 100 + rank)
    test_images, test_labels = make_bank(512, 200)
    eyes = Eyes()
    words = eyes.model.get_input_embeddings().weight.detach().clone()
    targets, known = word_targets(labels, words)
    trained = [p for name, p in eyes.named_parameters() if "language_model" not in name and "lm_head" not in name]
    trained = [p for p in trained if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-3, weight_decay=0.02, betas=(0.9, 0.98))
    steps = epochs * frames // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.08)
    generator = torch.Generator().manual_seed(rank)
    for step in range(steps):
        pick = torch.randint(frames, (batch,), generator=generator)
        with autocast():
            tokens, logits = eyes(images[pick])
            loss = 30 * functional.mse_loss(tokens.float()[known[pick]], targets[pick][known[pick]])
            for column, task in enumerate(logits):
                loss = loss + functional.cross_entropy(
                    task.float().flatten(0, 1), labels[pick][..., column].flatten(), ignore_index=UNSURE
                )
        optimizer.zero_grad()
        loss.backward()
        pair.average_gradients(trained)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        if rank == 0 and (step % 50 == 0 or step == steps - 1):
            right = accuracy(eyes, test_images, test_labels, words)
            print(f"vision {step + 1}/{steps} loss {loss.item():.3f} {right} {time.time() - started:.0f} s", flush=True)
    if rank == 0:
        save(eyes.model, folder)


@torch.inference_mode()
def accuracy(eyes: Eyes, images: torch.Tensor, labels: torch.Tensor, words: torch.Tensor) -> str:
    """For each task the share of cells named rightly, and the visual tokens' distance from the sum of their words."""
    eyes.eval()
    with autocast():
        tokens, logits = eyes(images)
    targets, known = word_targets(labels, words)
    parts = [f"fit {functional.mse_loss(tokens.float()[known], targets[known]) / targets[known].pow(2).mean():.3f}"]
    for column, name in enumerate(TASKS):
        truth = labels[..., column]
        # "Nothing" is most of the ground: only cells that hold something count.
        asked = truth >= (1 if name in _OF_THINGS else 0)
        parts.append(f"{name} {(logits[column].argmax(-1)[asked] == truth[asked]).float().mean():.3f}")
    eyes.train()
    return " ".join(parts)
