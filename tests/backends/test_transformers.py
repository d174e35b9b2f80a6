"""A model in this process: kept keys change nothing but the time, and nothing differs from plain transformers."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import ARCHITECTURES, TOKEN, TOKENIZER, fed, kinds_of, make_backend, save
from transformers import AutoConfig, AutoModelForImageTextToText, GenerationConfig

from ergo.backends import open_backend
from ergo.backends.transformers.backend import TransformersBackend
from ergo.backends.transformers.loading import quantized
from ergo.backends.transformers.processor import Prepared
from ergo.backends.transformers.sampling import Penalties, end_ids, generator_for, pieces, sample
from ergo.core.errors import MissingExtra, UsageError
from ergo.core.flows import LookConfig, Question, coarse_to_fine
from ergo.core.geometry import Box, TokenBudget
from ergo.core.messages import Chat, Completion, Message, Request, Sampling
from ergo.core.view import View
from ergo.families import ERGO_TINY, family_of_checkpoint
from ergo.families.base import ModelFamily
from ergo.families.prompts import TERSE
from ergo.images.picture import Picture
from ergo.traces.run import run

SHORT = Sampling(max_tokens=12)


@pytest.fixture(params=ARCHITECTURES, scope="module")
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def backend(family: str) -> TransformersBackend:
    return make_backend(family)


def picture(seed: int) -> Picture:
    values = np.random.default_rng(seed).integers(0, 256, (9, 12 + seed, 3), dtype=np.uint8)
    return Picture(Image.fromarray(values).resize((600 + 50 * seed, 450)))


def asks(backend: TransformersBackend, seed: int, sampling: Sampling = SHORT) -> Request:
    """A first look, different for each seed in picture, sizes and words."""
    family = ModelFamily("t", TERSE, "pixels", backend.processor.patch, 20)
    view = View.of(picture(seed), TokenBudget(12 + 4 * seed, patch=backend.processor.patch))
    return Request(family.ask_region(view, "what is it? " * (seed + 1)), sampling)


def goes_on(backend: TransformersBackend, first: Request, reply: Completion, seed: int = 0) -> Request:
    """The second look after it."""
    close = View.of(
        first.views[0].picture, TokenBudget(10 + 3 * seed, patch=backend.processor.patch), Box(40, 30, 300, 200)
    )
    added = (Message("assistant", (reply.text,)), Message("user", (close, "closer " * (seed + 1))))
    return Request(first.chat + added, first.sampling, previous=reply)


def answered(backend: TransformersBackend, *requests: Request) -> list[Completion]:
    replies = backend.complete(requests)
    assert all(isinstance(reply, Completion) for reply in replies)
    return replies  # type: ignore[return-value]


def plain_logits(backend: TransformersBackend, ids: Sequence[int], views: Sequence[View]) -> torch.Tensor:
    """transformers' own forward of the whole conversation, [length, vocabulary]."""
    tensor = torch.tensor([list(ids)])
    pixels = (
        dict(zip(("pixel_values", "image_grid_thw"), backend.processor.pixels(views), strict=True)) if views else {}
    )
    kinds = kinds_of(backend.processor, tensor)
    with torch.inference_mode():
        out = backend.model(input_ids=tensor, attention_mask=torch.ones_like(tensor), mm_token_type_ids=kinds, **pixels)
    logits: torch.Tensor = out.logits[0].clone()
    logits[:, backend.processor.unsayable] = -torch.inf
    return logits


def rounding(backend: TransformersBackend) -> float:
    """A recurrent layer takes a prompt by chunks and a reply token by token: the same sum in another order."""
    return 1e-4 if "qwen3_5" in backend.model.config.model_type else 1e-5


def assert_plain(backend: TransformersBackend, reply: Completion) -> None:
    """The reply's tokens and their log-probabilities are those of one plain forward over all ids."""
    past: Any = reply.state
    said = reply.token_ids
    assert said is not None
    assert past.ids[-len(said) :] == said
    logits = plain_logits(backend, past.ids, past.prepared.views)[-len(said) - 1 : -1]
    assert logits.argmax(-1).tolist() == list(said)
    expected = logits.log_softmax(-1).gather(1, torch.tensor(said)[:, None])[:, 0]
    assert reply.logprobs == pytest.approx(expected.tolist(), abs=rounding(backend))


# ── the cache ──────────────────────────────────────────────────────────────────────────────────


def test_both_looks_alone_equal_a_plain_forward(backend: TransformersBackend) -> None:
    first = asks(backend, 0)
    [one] = answered(backend, first)
    [two] = answered(backend, goes_on(backend, first, one))
    assert_plain(backend, one)
    assert_plain(backend, two)
    assert one.usage.cached_tokens == 0
    assert two.usage.cached_tokens == (one.usage.prompt_tokens or 0) + len(one.token_ids or ()) - 1


def test_both_looks_in_a_batch_equal_a_plain_forward(backend: TransformersBackend) -> None:
    first = [asks(backend, seed) for seed in range(3)]
    ones = answered(backend, *first)
    second = [
        goes_on(backend, request, reply, seed) for seed, (request, reply) in enumerate(zip(first, ones, strict=True))
    ]
    for reply in (*ones, *answered(backend, *second)):
        assert_plain(backend, reply)


def test_first_and_second_looks_and_text_together(backend: TransformersBackend) -> None:
    first = asks(backend, 1)
    [one] = answered(backend, first)
    text = Request((Message("user", ("and without a picture?",)),), SHORT)
    mixed = answered(backend, asks(backend, 0), goes_on(backend, first, one), text, asks(backend, 2))
    for reply in mixed:
        assert_plain(backend, reply)
    assert [reply.usage.cached_tokens or 0 for reply in mixed].count(0) == 3
    assert mixed[2].usage.vision_tokens == 0


def test_an_earlier_conversation_goes_on_after_another_was_held(backend: TransformersBackend) -> None:
    """transformers keeps position state on the model between calls; nothing here may depend on it."""
    first, other = asks(backend, 0), asks(backend, 2)
    [one] = answered(backend, first)
    answered(backend, other)
    follow_up = Request(
        (*first.chat, Message("assistant", (one.text,)), Message("user", ("why?",))), SHORT, previous=one
    )
    [two] = answered(backend, follow_up)
    assert_plain(backend, two)


def test_one_first_look_may_be_gone_on_from_more_than_once(backend: TransformersBackend) -> None:
    first = asks(backend, 0)
    [one] = answered(backend, first)
    branches = answered(backend, *(goes_on(backend, first, one, seed) for seed in range(3)))
    for reply in branches:
        assert_plain(backend, reply)
    again = answered(backend, goes_on(backend, first, one, 0))[0]
    assert again.token_ids == branches[0].token_ids


def test_three_looks_in_one_conversation(backend: TransformersBackend) -> None:
    first = asks(backend, 0)
    [one] = answered(backend, first)
    second = goes_on(backend, first, one)
    [two] = answered(backend, second)
    [three] = answered(backend, goes_on(backend, second, two, 1))
    assert_plain(backend, three)
    assert len(three.state.prepared.views) == 3  # type: ignore[attr-defined]


def test_without_reuse_the_same_is_said_from_the_same_ids(family: str, backend: TransformersBackend) -> None:
    anew = make_backend(family, reuse=False)
    looking = LookConfig(
        ModelFamily("t", TERSE, "pixels", backend.processor.patch, 20),
        *[TokenBudget(16, patch=backend.processor.patch)] * 2,
        SHORT,
    )
    jobs = [
        (n, lambda n=n: coarse_to_fine(picture(n), Question("what? " * (n + 1), ("a", "b")), looking)) for n in range(3)
    ]
    kept_traces, new_traces = (sorted(run(jobs, each, 3), key=lambda t: str(t.tag)) for each in (backend, anew))
    for kept, new in zip(kept_traces, new_traces, strict=True):
        assert kept.turns[1].usage.cached_tokens
        assert new.turns[1].usage.cached_tokens == 0
        assert kept.turns[1].usage.prompt_tokens == new.turns[1].usage.prompt_tokens
        for mine, theirs in zip(kept.completions, new.completions, strict=True):
            assert mine.token_ids == theirs.token_ids
            assert mine.logprobs == pytest.approx(theirs.logprobs, abs=rounding(backend))


# ── decoding ───────────────────────────────────────────────────────────────────────────────────


def generated(backend: TransformersBackend, ids: Sequence[int], views: Sequence[View], **options: Any) -> list[int]:
    """What transformers' own `generate` says after `ids`, everything computed anew."""
    inputs = fed(backend.processor, [Prepared(tuple(ids), tuple(views))])
    if views:
        inputs |= dict(zip(("pixel_values", "image_grid_thw"), backend.processor.pixels(views), strict=True))
    out = backend.model.generate(
        **inputs, max_new_tokens=12, do_sample=False, suppress_tokens=backend.processor.unsayable, **options
    )
    return [int(token) for token in out[0, len(ids) :]]


def test_greedy_tokens_of_both_turns_are_those_of_generate(backend: TransformersBackend) -> None:
    first = asks(backend, 1)
    [one] = answered(backend, first)
    [two] = answered(backend, goes_on(backend, first, one))
    for reply in (one, two):
        past: Any = reply.state
        said = list(reply.token_ids or ())
        assert said == generated(backend, past.ids[: -len(said)], past.prepared.views)
    [text] = answered(backend, Request((Message("user", ("hi",)),), SHORT))
    assert list(text.token_ids or ()) == generated(backend, text.state.ids[:-12], ())  # type: ignore[attr-defined]


def test_a_checkpoints_own_penalty_is_that_of_generate(family: str) -> None:
    plain, strict = make_backend(family), make_backend(family, penalties=Penalties(repetition=1.3))
    replies = answered(strict, *(asks(strict, seed) for seed in range(2)))
    for reply in replies:
        past: Any = reply.state
        said = list(reply.token_ids or ())
        assert said == generated(strict, past.ids[: -len(said)], past.prepared.views, repetition_penalty=1.3)
    assert [one.token_ids for one in replies] != [
        one.token_ids for one in answered(plain, *(asks(plain, seed) for seed in range(2)))
    ]


def test_only_the_k_likeliest_are_drawn() -> None:
    scores = torch.tensor([2.0, -1.0, 3.0, 0.5])
    Penalties(top_k=2).apply(scores, (), drawn=True)
    assert scores.isfinite().tolist() == [True, False, True, False]
    for top_k, drawn in ((2, False), (0, True), (4, True), (9, True)):
        scores = torch.tensor([2.0, -1.0, 3.0, 0.5])
        Penalties(top_k=top_k).apply(scores, (), drawn=drawn)
        assert scores.isfinite().all()


def test_a_repeated_token_loses_on_either_side_of_zero() -> None:
    scores = torch.tensor([2.0, -1.0, 3.0, -0.5])
    Penalties(repetition=2.0).apply(scores, (0, 1, 1), drawn=False)
    assert scores.tolist() == [1.0, -2.0, 3.0, -0.5]


def test_each_token_has_its_text(backend: TransformersBackend) -> None:
    [reply] = answered(backend, asks(backend, 3))
    assert reply.pieces is not None
    assert reply.token_ids is not None
    assert len(reply.pieces) == len(reply.token_ids) == len(reply.logprobs or ())
    text = "Öl für 5 € 🙂!"
    assert "".join(pieces(TOKENIZER, TOKENIZER(text)["input_ids"])) == text


def test_a_reply_is_cut_at_its_limit(backend: TransformersBackend) -> None:
    long = answered(backend, asks(backend, 0))[0]
    [cut] = answered(backend, asks(backend, 0, Sampling(max_tokens=3)))
    assert (cut.finish, len(cut.token_ids or ())) == ("length", 3)
    assert cut.usage.generated_tokens == 3
    assert (long.token_ids or ())[:3] == cut.token_ids
    assert_plain(backend, answered(backend, goes_on(backend, asks(backend, 0), cut))[0])  # and can be gone on from


def test_a_reply_ends_at_its_end_token() -> None:
    backend = make_backend("qwen2_5_vl")
    with torch.no_grad():
        backend.model.lm_head.weight[TOKEN["<|im_end|>"]] *= 8  # sooner or later it is the likeliest
    replies = answered(backend, *(Request((Message("user", (text,)),), Sampling(max_tokens=60)) for text in "abcdefgh"))
    ended = [reply for reply in replies if reply.finish == "stop"]
    assert ended
    for reply in ended:
        assert reply.token_ids is not None
        assert reply.token_ids[-1] == TOKEN["<|im_end|>"]
        assert "<|im_end|>" not in reply.text
        assert TOKEN["<|im_end|>"] not in reply.token_ids[:-1]
    for reply in replies:
        assert_plain(backend, reply)


def test_replies_of_any_length_can_be_gone_on_from(family: str) -> None:
    """Rows that have stopped are fed padding while others go on: none of it may be in what is kept of them."""
    backend = make_backend(family)
    first = [asks(backend, seed) for seed in range(4)]
    said = {letter for one in answered(backend, *first) for letter in one.text if letter.isascii()}
    for letter in sorted(said):  # the first that some of them say early, others late or not at all
        ones = answered(backend, *(Request(request.chat, Sampling(12, stop=(letter,))) for request in first))
        if len({len(one.token_ids or ()) for one in ones}) > 1:
            break
    else:
        pytest.fail("no letter stops these replies at different lengths")
    for reply in answered(
        backend, *(goes_on(backend, r, one, n) for n, (r, one) in enumerate(zip(first, ones, strict=True)))
    ):
        assert_plain(backend, reply)


class Stated:
    """A model that states how replies end."""

    def __init__(self, ends: Any, tokens: int = 100) -> None:
        self.generation_config = GenerationConfig(eos_token_id=ends)
        self._tokens = tokens

    def get_input_embeddings(self) -> torch.nn.Embedding:
        return torch.nn.Embedding(self._tokens, 1)


@pytest.mark.parametrize(
    ("stated", "ends"),
    [(None, {7}), (9, {7, 9}), ([9, 12], {7, 9, 12}), ([9, 100], {7, 9}), (100, {7}), ([99], {7, 99})],
)
def test_a_reply_ends_where_the_template_or_the_checkpoint_says(stated: Any, ends: set[int]) -> None:
    assert end_ids(Stated(stated), 7) == ends


def test_a_stop_string_ends_a_reply_and_is_not_in_it(backend: TransformersBackend) -> None:
    [free] = answered(backend, asks(backend, 0))
    stop = free.text[4:6]
    assert len(stop) == 2
    [stopped] = answered(backend, asks(backend, 0, Sampling(max_tokens=12, stop=("never said", stop))))
    assert stopped.finish == "stop"
    assert stopped.text == free.text.split(stop)[0]


def test_a_seed_repeats_a_reply_whatever_else_is_in_the_batch(backend: TransformersBackend) -> None:
    def sampled(seed: int | None) -> Sampling:
        return Sampling(max_tokens=12, temperature=1.0, top_p=0.95, seed=seed)

    [alone] = answered(backend, asks(backend, 1, sampled(3)))
    among = answered(
        backend, *(asks(backend, n, sampled(seed)) for n, seed in ((0, 1), (1, 3), (1, 4), (2, 3), (1, None)))
    )
    assert alone.token_ids == among[1].token_ids
    assert alone.token_ids != among[2].token_ids
    assert alone.token_ids != among[4].token_ids
    assert among[1].logprobs == pytest.approx(alone.logprobs, abs=rounding(backend))


def test_requests_that_differ_only_in_their_seed_share_a_batch(backend: TransformersBackend) -> None:
    replies = answered(backend, *(asks(backend, 1, Sampling(12, 1.0, seed=seed)) for seed in range(4)))
    assert len({reply.seconds.total for reply in replies}) == 1  # the batch's seconds, shared out
    assert len({reply.token_ids for reply in replies}) == 4


def test_the_nucleus_holds_only_the_likeliest() -> None:
    scores = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().repeat(500, 1)
    generator: list[Any] = [torch.Generator().manual_seed(n) for n in range(500)]
    assert set(sample(scores, Sampling(temperature=1.0, top_p=0.6), generator).tolist()) == {0, 1}
    assert set(sample(scores, Sampling(temperature=1.0), generator).tolist()) == {0, 1, 2, 3}
    assert set(sample(scores, Sampling(), [None] * 500).tolist()) == {0}


def test_more_requests_than_a_batch_holds_come_back_in_order(family: str) -> None:
    backend = make_backend(family, batch=2)
    requests = [asks(backend, seed, Sampling(max_tokens=4)) for seed in (0, 1, 2, 1, 0)]
    replies = answered(backend, *requests)
    assert replies[0].token_ids == replies[4].token_ids
    assert replies[1].token_ids == replies[3].token_ids
    assert [reply.usage.vision_tokens for reply in replies] == [request.views[0].tokens for request in requests]
    assert backend.complete([]) == []


@pytest.mark.parametrize("reuse", [True, False])
def test_the_first_look_is_kept_only_where_it_is_wanted(reuse: bool) -> None:
    backend = make_backend("qwen3_vl", reuse=reuse)
    first = asks(backend, 0)
    [one] = answered(backend, first)
    assert (one.state is not None) == reuse
    [two] = answered(backend, goes_on(backend, first, one))
    assert bool(two.usage.cached_tokens) == reuse


def test_rows_draw_each_from_their_own_generator() -> None:
    scores = torch.zeros(3, 1000)
    one = torch.Generator().manual_seed(5)
    seeds = [torch.Generator().manual_seed(n) for n in (4, 5, 6)]
    drawn = sample(scores, Sampling(temperature=1.0), seeds).tolist()
    assert drawn[1] == int(sample(scores[:1], Sampling(temperature=1.0), [one])[0])
    assert len(set(drawn)) == 3
    assert generator_for(Sampling(), torch.device("cpu")) is None
    unseeded = [generator_for(Sampling(temperature=1.0), torch.device("cpu")) for _ in range(2)]
    assert len({one.initial_seed() for one in unseeded if one}) == 2


def test_a_temperature_sharpens_what_is_drawn() -> None:
    scores = torch.tensor([1.0, 0.0]).repeat(400, 1)
    for temperature, share in ((0.2, 0.993), (1.0, 0.731), (5.0, 0.55)):
        generators = [torch.Generator().manual_seed(n) for n in range(400)]
        first = (sample(scores, Sampling(temperature=temperature), generators) == 0).float().mean()
        assert float(first) == pytest.approx(share, abs=0.08)


# ── opening ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp(family), family)


def says(opened_by: str, chat: Chat, **settings: Any) -> Completion:
    [reply] = open_backend(opened_by, **settings).backend.complete([Request(chat, SHORT)])
    assert isinstance(reply, Completion)
    return reply


def test_a_folder_opens_as_what_it_is(folder: Path, family: str, backend: TransformersBackend) -> None:
    opened = open_backend(f"hf:{folder}")
    assert opened.family is family_of_checkpoint(family)
    assert opened.patch == (28 if family == "qwen2_5_vl" else 32)
    request = asks(backend, 0)
    [reply] = answered(backend, request)
    assert says(str(folder), request.chat).token_ids == reply.token_ids
    assert open_backend(str(folder), family="ergo_tiny").family is ERGO_TINY


def test_a_lora_adapter_changes_what_is_said(folder: Path, backend: TransformersBackend, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    plain = TransformersBackend.open(str(folder))
    torch.manual_seed(1)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    config.base_model_name_or_path = str(folder)
    peft.get_peft_model(plain.model, config).save_pretrained(tmp_path)
    chat = asks(backend, 0).chat
    without = says(f"hf:{folder}", chat)
    adapted = says(f"hf:{folder}", chat, adapter=str(tmp_path))
    assert adapted.logprobs != pytest.approx(without.logprobs, abs=1e-3)
    assert says(f"hf:{tmp_path}", chat).token_ids == adapted.token_ids  # the adapter names its base itself


def one_line(spec: str, **settings: Any) -> str:
    with pytest.raises(UsageError) as caught:
        open_backend(spec, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    assert "there is no folder" in one_line(f"hf:{tmp_path / 'nothing'}")
    assert "there is no folder ./nothing" in one_line("hf:./nothing")
    assert "config.json" in one_line(f"hf:{tmp_path}")


def test_a_model_of_another_kind_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert "is a llama; ergo knows qwen2_vl, qwen2_5_vl, qwen3_vl" in one_line(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no_such_model"}))
    assert "no_such_model" in one_line(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    assert str(tmp_path) in one_line(str(tmp_path))


def test_a_folder_with_parts_missing_is_one_line(folder: Path, tmp_path: Path) -> None:
    def copied(*names: str) -> str:
        for name in names:
            (tmp_path / name).write_bytes((folder / name).read_bytes())
        return str(tmp_path)

    assert str(tmp_path) in one_line(copied("config.json"))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    assert str(tmp_path) in one_line(str(tmp_path))
    assert str(tmp_path) in one_line(copied("config.json", "model.safetensors"))  # no tokenizer


def test_an_adapter_that_is_not_there_is_one_line(folder: Path, tmp_path: Path) -> None:
    assert str(tmp_path / "nothing") in one_line(f"hf:{folder}", adapter=str(tmp_path / "nothing"))


def test_a_checkpoints_generation_settings_are_off_unless_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save(tmp_path, "qwen2_5_vl")
    stated = {
        "repetition_penalty": 1.3,
        "top_k": 3,
        "temperature": 0.1,
        "do_sample": True,
        "eos_token_id": TOKEN["<|im_end|>"],
    }
    (folder / "generation_config.json").write_text(json.dumps(stated))
    caplog.set_level("INFO", "ergo")
    for settings, penalties in (({}, Penalties()), ({"generation": "checkpoint"}, Penalties(1.3, 3))):
        caplog.clear()
        opened = open_backend(str(folder), **settings).backend
        assert isinstance(opened, TransformersBackend)
        assert opened.penalties == penalties
        assert ("not applied" in caplog.text) == (not settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"device": "gpu"}, "no kind of device called 'gpu'"),
        ({"device": "cuda:9"}, "there is no cuda:9 here: this machine has"),
        ({"device": "cpu", "device_map": "auto"}, "device puts a model in one place, device_map spreads it"),
        ({"device_map": "all"}, "device_map is one of auto, balanced"),
        ({"dtype": "float31"}, "dtype is one of auto, float32, bfloat16, float16"),
        ({"quantization": "3bit"}, "quantization is one of 4bit, 8bit"),
        ({"generation": "mine"}, "generation is one of request, checkpoint"),
        ({"attention": "telepathy"}, "telepathy"),
        ({"attention": "flash_attention_2"}, "lash"),
    ],
)
def test_where_and_how_a_model_runs_is_checked_in_one_line(
    settings: dict[str, Any], words: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert words in one_line(str(save(tmp_path_factory.mktemp("m"), "qwen2_5_vl")), **settings)


def test_where_and_how_a_model_runs(folder: Path, backend: TransformersBackend) -> None:
    request = asks(backend, 0)
    [reply] = answered(backend, request)
    for settings in ({"device": "cpu"}, {"device_map": "auto"}, {"attention": "eager"}, {"attention": "sdpa"}):
        assert says(str(folder), request.chat, **settings).token_ids == reply.token_ids
    half = open_backend(str(folder), dtype="bfloat16").backend
    assert isinstance(half, TransformersBackend)
    assert half.model.dtype == torch.bfloat16
    assert isinstance(half.complete([request])[0], Completion)
    eager = open_backend(str(folder), attention="eager").backend
    assert isinstance(eager, TransformersBackend)
    assert eager.model.config.get_text_config()._attn_implementation == "eager"


def test_a_model_spread_where_there_is_only_a_cpu_is_in_float32_too(tmp_path: Path) -> None:
    folder = save(tmp_path, "qwen2_5_vl")
    AutoModelForImageTextToText.from_pretrained(folder).to(torch.bfloat16).save_pretrained(folder)
    for settings in ({}, {"device_map": "auto"}, {"device": "cpu"}):
        opened = open_backend(str(folder), **settings).backend
        assert isinstance(opened, TransformersBackend)
        assert opened.model.dtype == torch.float32


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bitsandbytes' kernels want sides that are multiples of 32."""
    folder = save(tmp_path_factory.mktemp("wide"), "qwen3_vl")
    config = AutoConfig.from_pretrained(folder)
    text = config.text_config
    text.hidden_size, text.intermediate_size, text.head_dim, config.vision_config.out_hidden_size = 64, 128, 32, 64
    text.rope_parameters["mrope_section"] = [6, 5, 5]
    torch.manual_seed(0)
    AutoModelForImageTextToText.from_config(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("quantization", "kind"), [("4bit", "Linear4bit"), ("8bit", "Linear8bitLt")])
def test_the_language_half_is_quantised_and_both_turns_go_on(wide: Path, quantization: str, kind: str) -> None:
    pytest.importorskip("bitsandbytes", reason="the extra `quantized` is not installed")
    opened = open_backend(str(wide), quantization=quantization).backend
    assert isinstance(opened, TransformersBackend)
    linear = {
        name: type(part).__name__ for name, part in opened.model.named_modules() if "Linear" in type(part).__name__
    }
    for name, found in linear.items():
        assert found == ("Linear" if "visual" in name or "lm_head" in name else kind), name
    assert sum(found == kind for found in linear.values()) >= 14
    first = asks(opened, 0)
    [one] = answered(opened, first)
    [two] = answered(opened, goes_on(opened, first, one))
    assert two.usage.cached_tokens


def test_quantisation_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])  # nothing can be found any more
    monkeypatch.delitem(sys.modules, "bitsandbytes", raising=False)
    with pytest.raises(MissingExtra, match="loading in 4 bits needs an extra"):
        quantized("4bit")


def test_the_tokenizer_of_these_tests_writes_any_text() -> None:
    assert TOKENIZER.decode(TOKENIZER("é 標 ok")["input_ids"]) == "é 標 ok"
