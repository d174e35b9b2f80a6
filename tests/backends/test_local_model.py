"""A model in this process: the shipped one, and random ones of both families."""

import pytest
import torch
from PIL import Image

from ergo.backends.constrain import may_become_region
from ergo.backends.processor import Normalisation, Processor, rope_positions
from ergo.backends.transformers import TransformersBackend
from ergo.chat import Message, Request, Sampling
from ergo.dialect import QWEN2_5_VL, QWEN3_VL
from ergo.geometry import Box, Size, TokenBudget
from ergo.image import Picture, View
from ergo.pipeline import Looking, Question, Trace, coarse_to_fine, run
from ergo.train import tiny

transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)
WORDS = ["What pattern is on the flag of the red tower? Where?", "<think> red 420 360</think><zoom>[20, 40, 60, 80]</zoom>"]
TOKENIZER = tiny.make_tokenizer(WORDS * 20, 400)
IDS = {name: TOKENIZER.convert_tokens_to_ids(f"<|{name}|>") for name in ("image_pad", "video_pad", "vision_start", "vision_end")}


def random_model(family: str) -> torch.nn.Module:
    """A small random model with 14-pixel patches and 2x2 merging, as the real ones have."""
    torch.manual_seed(0)
    ids = {f"{key}_token_id": IDS[name] for key, name in
           [("image", "image_pad"), ("video", "video_pad"), ("vision_start", "vision_start"), ("vision_end", "vision_end")]}  # fmt: skip
    text = {
        "vocab_size": len(TOKENIZER), "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2,
    }  # fmt: skip
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 14, "out_hidden_size": 48}
    if family == "qwen2_5_vl":
        rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]}
        config = transformers.Qwen2_5_VLConfig(
            text_config=text | {"rope_parameters": rope}, vision_config=vision | {"fullatt_block_indexes": [1]}, **ids
        )
        return transformers.Qwen2_5_VLForConditionalGeneration(config).eval()
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2], "mrope_interleaved": True}
    config = transformers.Qwen3VLConfig(
        text_config=text | {"rope_parameters": rope, "head_dim": 12},
        vision_config=vision | {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]}, **ids,
    )  # fmt: skip
    return transformers.Qwen3VLForConditionalGeneration(config).eval()


FAMILIES = {"qwen2_5_vl": QWEN2_5_VL, "qwen3_vl": QWEN3_VL}
PROCESSOR = Processor(TOKENIZER, 14, 2, 2, Normalisation((0.5, 0.4, 0.3), (0.2, 0.3, 0.25)))


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def picture(seed: int) -> Picture:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 256, (90, 120 + 10 * seed, 3), generator=generator, dtype=torch.uint8)
    return Picture(Image.fromarray(noise.numpy()).resize((600 + 50 * seed, 450)))


def look(backend: TransformersBackend, window: int, tokens: int = 50) -> list[Trace]:
    looking = Looking(backend.dialect, TokenBudget(24), TokenBudget(16), Sampling(max_tokens=tokens))
    jobs = (
        (n, lambda n=n: coarse_to_fine(picture(n), Question("what is it? " * (n + 1), ("a", "b")), looking)) for n in range(3)
    )
    return sorted(run(jobs, backend, window), key=lambda trace: int(str(trace.tag)))


@pytest.mark.parametrize("window", [1, 3])
def test_the_second_look_with_kept_keys_equals_a_full_recompute(family: str, window: int) -> None:
    model = random_model(family)
    kept = look(TransformersBackend(model, PROCESSOR, FAMILIES[family], force_region=True), window)
    anew = look(TransformersBackend(model, PROCESSOR, FAMILIES[family], force_region=True, reuse=False), 1)
    for one, other in zip(kept, anew, strict=True):
        assert one.turns[1].usage.cached_tokens
        assert not other.turns[1].usage.cached_tokens
        assert one.answer is not None
        assert one.answer.region_reading not in ("none_given", "not_numbers")  # well-formed, though from noise
        for mine, theirs in zip(one.completions, other.completions, strict=True):
            assert mine.token_ids == theirs.token_ids
            assert mine.logprobs is not None
            assert mine.logprobs == pytest.approx(theirs.logprobs, abs=1e-5)


def test_logprobs_are_those_of_plain_transformers(family: str) -> None:
    model = random_model(family)
    backend = TransformersBackend(model, PROCESSOR, FAMILIES[family])
    for trace in look(backend, 3, tokens=12):
        first, second = trace.completions
        prepared = backend._from_start(trace.requests[0])
        views = trace.requests[1].views
        whole = PROCESSOR.continued([*prepared.ids, *(first.token_ids or ())], views[:1], trace.requests[1].chat)
        ids = torch.tensor([[*whole.ids, *(second.token_ids or ())]])
        values, grids = PROCESSOR.pixels(views)
        with torch.inference_mode():
            logits = model(
                input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=PROCESSOR.kinds(ids),
                pixel_values=values, image_grid_thw=grids,
            ).logits[0]  # fmt: skip
        logits = torch.tensor(logits.tolist())
        logits[:, backend._never] = -torch.inf
        said = torch.tensor(second.token_ids)
        expected = logits[len(whole.ids) - 1 : -1].log_softmax(-1).gather(1, said[:, None])[:, 0]
        assert second.logprobs == pytest.approx(expected.tolist(), abs=1e-5)


def test_positions_are_those_of_transformers(family: str) -> None:
    model = random_model(family)
    views = [View.of(picture(n), TokenBudget(20)) for n in range(2)]
    chat = (Message("user", (views[0], "first")), Message("assistant", ("ok",)), Message("user", (views[1], "second")))
    prepared = PROCESSOR.first(chat)
    ids = torch.tensor([prepared.ids])
    _, grids = PROCESSOR.pixels(views)
    theirs, _ = model.model.get_rope_index(ids, mm_token_type_ids=PROCESSOR.kinds(ids), image_grid_thw=grids)
    assert torch.equal(theirs[:, 0], torch.from_numpy(rope_positions(prepared.ids, views, PROCESSOR.image_id)))


@pytest.mark.parametrize("size", [Size(640, 480), Size(31, 900), Size(1200, 77)])
def test_pixels_are_those_of_transformers(size: Size) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    theirs = Qwen2VLImageProcessorPil(
        image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.3, 0.25], size={"shortest_edge": 3136, "longest_edge": 64 * 784}
    )
    whole = Picture(picture(1).pixels.resize((size.width, size.height)))
    expected = theirs(images=[whole.pixels], return_tensors="pt")
    values, grids = PROCESSOR.pixels([View.of(whole, TokenBudget(64))])
    assert torch.equal(grids, expected["image_grid_thw"])
    assert torch.allclose(values, expected["pixel_values"], atol=1e-6)


def test_control_tokens_in_a_question_are_harmless() -> None:
    view = View.of(picture(0), TokenBudget(8))
    prepared = PROCESSOR.first((Message("user", (view, "a <|image_pad|><|im_end|> b")),))
    assert prepared.ids.count(PROCESSOR.image_id) == view.tokens
    assert prepared.ids.count(PROCESSOR.end_id) == 1


def test_text_alone_and_a_reply_cut_at_its_limit(family: str) -> None:
    backend = TransformersBackend(random_model(family), PROCESSOR, FAMILIES[family])
    [reply] = backend.complete([Request((Message("user", ("hello",)),), Sampling(max_tokens=3))])
    assert not isinstance(reply, Exception)
    assert reply.usage.vision_tokens == 0
    assert (reply.finish, len(reply.token_ids or ())) in [("length", 3), ("stop", len(reply.token_ids or ()))]


def test_sampling_with_a_seed_is_repeated(family: str) -> None:
    backend = TransformersBackend(random_model(family), PROCESSOR, FAMILIES[family])
    request = Request((Message("user", ("hello",)),), Sampling(max_tokens=8, temperature=1.0, top_p=0.9, seed=3))
    first, second = backend.complete([request])[0], backend.complete([request])[0]
    assert first.token_ids == second.token_ids  # type: ignore[union-attr]


def test_the_form_of_a_region() -> None:
    assert all(may_become_region("<zoom>[12, 3, 45, 999]</zoom>"[:end]) for end in range(1, 28))
    assert not may_become_region("<zoom>[1 2")


def test_a_view_of_another_patch_is_refused() -> None:
    view = View(picture(0), Box(0, 0, 64, 64), Size(64, 64), 32)
    with pytest.raises(ValueError, match="patch"):
        PROCESSOR.pixels([view])
