"""A start for the heads that read where things and signs stand: fitted, not learnt.

Attention finds the thing that is named long before what it finds is passed on as a coordinate (docs/log.md). Both are
linear in what the model knows: a vision token holds where the thing it shows stands (`PlaceHead`), and the embedding
of a coordinate holds its value, both as waves. So the map from one to the other is a least-squares fit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ergo.core.geometry import Box
from ergo.photo_world.assets import Assets
from ergo.photo_world.heads import coordinate_values
from ergo.photo_world.learner import ATTENTION_LAYER, Learner, collate
from ergo.photo_world.lessons import COARSE, say_places, view
from ergo.photo_world.pages import SIGN, Crop
from ergo.photo_world.rows import HEADS, Turn, in_tokens
from ergo.photo_world.scene import compose
from ergo.tiny.model import waves
from ergo.tiny.packing import attention

DAMPING = 0.03


@torch.no_grad()
def start_place_heads(learner: Learner, assets: Assets, seed: int, scenes: int = 96) -> None:
    """Queries and keys of the place heads become those of the letter heads, which know how to find what is named;
    values and outputs are fitted."""
    own = learner.model.model.language_model.layers[ATTENTION_LAYER].self_attn
    side = own.head_dim
    part = [slice(head * side, (head + 1) * side) for head in range(own.config.num_attention_heads)]
    for name in ("thing", "sign"):
        for head, model_head in zip(HEADS[name], HEADS["letter"], strict=True):
            for projection in (own.q_proj, own.k_proj):
                projection.weight[part[head]] = projection.weight[part[model_head]]
    hidden, centres, is_sign, spots = _seen(learner, assets, seed, scenes)
    tokens, values = _coordinates(learner)
    table = learner.model.model.language_model.embed_tokens.weight[tokens]
    spoken = _fit(waves(values, side // 2), table - table.mean(0))  # waves -> embedding
    gain = float(spots.norm(dim=-1).mean() / (waves(values, side // 2) @ spoken).norm(dim=-1).mean())
    for name, chosen in (("thing", ~is_sign), ("sign", is_sign)):
        for axis, head in enumerate(HEADS[name]):
            own.v_proj.weight[part[head]] = _fit(hidden[chosen], waves(centres[chosen, axis], side // 2)).T
            own.o_proj.weight[:, part[head]] = gain * spoken.T


def _fit(given: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The matrix M with `given` @ M nearest to `wanted`, a little damped."""
    square = given.T @ given / len(given)
    damping = DAMPING * square.diagonal().mean() * torch.eye(len(square))
    fitted: torch.Tensor = torch.linalg.solve(square + damping, given.T @ wanted / len(given))
    return fitted


def _coordinates(learner: Learner) -> tuple[torch.Tensor, torch.Tensor]:
    found = [
        (token, value / 1000)
        for token, (before, value) in coordinate_values(learner.tokenizer).items()
        if before == "Ġ"
    ]
    return torch.tensor([token for token, _ in found]), torch.tensor([value for _, value in found])


def _seen(learner: Learner, assets: Assets, seed: int, scenes: int) -> tuple[torch.Tensor, ...]:
    """What the layer's attention is given at vision tokens that show things or signs; their centres; whether it is a
    sign; and what the layer says where coordinates are predicted."""
    rng = np.random.default_rng(seed)
    language = learner.model.model.language_model
    layer = language.layers[ATTENTION_LAYER]
    kept: dict[str, torch.Tensor] = {}
    hooks = [
        layer.self_attn.register_forward_pre_hook(
            lambda _, __, inputs: kept.__setitem__("in", inputs["hidden_states"]), with_kwargs=True
        ),
        layer.register_forward_hook(lambda _, __, output: kept.__setitem__("out", output)),
    ]
    hidden, centres, signs, spots = [], [], [], []
    for number in range(scenes):
        scene = compose(seed * 10**7 + number, assets)
        coarse = view(rng, assets, scene, Box.whole(scene.size), COARSE.fit(scene.size), 0.7)
        row = learner.rows.row([(Turn(coarse, "What is where?", say_places(scene, coarse), "places"),)])
        tokens, _ = learner._see(row.shown, {})
        ids, _, branch, _, positions = collate([row], learner.tokenizer.pad_token_id)
        embedded = language.embed_tokens(ids)
        embedded[0, row.slots] = torch.cat(tokens).float()
        language(inputs_embeds=embedded, attention_mask=attention(branch), position_ids=positions, use_cache=False)
        centre, sign = _shown(coarse)
        known = ~centre[:, 0].isnan()
        hidden.append(kept["in"][0, row.slots][known])
        centres.append(centre[known])
        signs.append(sign[known])
        spots.append(kept["out"][0, list(row.spots)])
    for hook in hooks:
        hook.remove()
    return torch.cat(hidden), torch.cat(centres).float(), torch.cat(signs), torch.cat(spots)


def _shown(coarse: Crop) -> tuple[torch.Tensor, torch.Tensor]:
    assert coarse.centres is not None
    centres = torch.from_numpy(coarse.centres.reshape(-1, 2))
    rows, columns = coarse.centres.shape[:2]
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    inside: Any = (coarse.centres[..., 0] * columns // 1 == x) & (coarse.centres[..., 1] * rows // 1 == y)
    return centres, torch.from_numpy((inside & in_tokens(coarse, coarse.codes == SIGN)).ravel())
