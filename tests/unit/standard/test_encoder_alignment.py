"""Encoder alignment: the loss of the paper, fresh noise for each forget image, and nothing but the encoder changed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cu_standard.params import AlignmentParams
from cu_standard.strategies.encoder_alignment import EncoderAlignment
from cu_standard.strategies.pictures import augment

from compliance_unlearn.api import Batch, Inpaint, RandomMask, StrategyContext, Task
from tests.unit.standard.small import SIZE, counting, halves, new_context


def prepared(context: StrategyContext, **params: Any) -> EncoderAlignment:
    values = {"alpha": 0.2, "augment": False, "noise_bank": 16, "retain_views": 4, **params}
    strategy = EncoderAlignment(AlignmentParams.model_validate(values))
    strategy.prepare(context)
    return strategy


def squared(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).square().mean())


def test_the_loss_is_the_formula_of_the_paper() -> None:
    """Under one fixed mask everything but the drawn noise is known; a bank of one image would fix that too."""
    context = new_context(Inpaint(area=0.25))
    strategy = prepared(context, alpha=0.3)
    forget, retain = halves(context)
    assert retain is not None
    teacher, student = counting(context.teacher), counting(context.student)
    bank = teacher.encoded[0]
    student.encoded.clear()
    terms = strategy.objective(context, forget, retain).terms
    (seen,) = student.encoded
    with torch.no_grad():
        (features,) = student.module.encoder(seen)[None]
        targets = teacher.module.encoder(bank)
        kept = teacher.module.encoder(seen[4:])
    assert torch.equal(seen[:4], forget.images.masked_fill(student.views(4, torch.Generator()).hidden, 0.5))
    assert terms["retain"].item() == pytest.approx(squared(features[4:], kept), rel=1e-5)
    drawn = torch.randint(16, (4,), generator=torch.Generator().manual_seed(7))
    assert terms["forget"].item() == pytest.approx(0.3 * squared(features[:4], targets[drawn]), rel=1e-5)


def test_the_loss_of_a_case_that_can_be_done_by_hand() -> None:
    """Teacher E(x) = x, student E(x) = x + 1, grey noise and grey forget images: both halves are off by 1."""

    class Grey:
        def sample(self, count: int, generator: torch.Generator) -> torch.Tensor:
            return torch.full((count, 1, SIZE, SIZE), 0.5)

    context = new_context(Inpaint(area=0.25))
    for adapter, offset in ((context.teacher, 0.0), (context.student, 1.0)):
        encoder = counting(adapter).module.encoder
        with torch.no_grad():
            encoder.weight.zero_()
            encoder.weight[:, :, 1, 1] = 1.0
            encoder.bias.fill_(offset)  # type: ignore[union-attr]
    context = StrategyContext(**{**vars(context), "noise": Grey()})
    strategy = prepared(context, alpha=0.2)
    grey = torch.full((6, 1, SIZE, SIZE), 0.5)
    _, retain = halves(context, 6)
    terms = strategy.objective(context, Batch(grey, torch.zeros(6, dtype=torch.long)), retain).terms
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {"retain": 1.0, "forget": 0.2}, rel=1e-5
    )


@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_alpha_weighs_the_forget_half_whatever_the_sizes_of_the_sets(alpha: float) -> None:
    def terms(weight: float) -> dict[str, float]:
        context = new_context()
        strategy = prepared(context, alpha=weight)
        return {name: term.item() for name, term in strategy.objective(context, *halves(context, 6)).terms.items()}

    one, other = terms(1.0), terms(alpha)
    assert other["forget"] == pytest.approx(alpha * one["forget"], rel=1e-5)
    assert other["retain"] == pytest.approx(one["retain"], rel=1e-5)


def test_at_the_teacher_the_retain_half_costs_nothing() -> None:
    context = new_context(moved=0.0)
    terms = prepared(context).objective(context, *halves(context)).terms
    assert terms["retain"].item() < 1e-12
    assert terms["forget"].item() > 0


def targets_of(strategy: EncoderAlignment, context: StrategyContext) -> torch.Tensor:
    """The noise target of each forget image of a batch: where the loss pulls its features, read from the gradient."""
    features: list[torch.Tensor] = []
    student = counting(context.student)
    original = student.module.encoder.forward

    def record(input: torch.Tensor) -> torch.Tensor:
        made = original(input).detach().requires_grad_(True)
        features.append(made)
        return made

    student.module.encoder.forward = record  # type: ignore[method-assign]
    try:
        forget, _ = halves(context)
        strategy.objective(context, forget, None).total.backward()  # type: ignore[no-untyped-call]
    finally:
        student.module.encoder.forward = original  # type: ignore[method-assign]
    (made,) = features
    assert made.grad is not None
    return made.detach() - made.grad * made.numel() / (2 * 0.2)


def test_the_same_forget_image_meets_other_noise_in_every_step() -> None:
    context = new_context(Inpaint(area=0.25), retain=False)
    strategy = prepared(context, noise_bank=64)
    bank = counting(context.teacher).module.encoder(counting(context.teacher).encoded[0]).detach()
    met: list[list[int]] = []
    for _ in range(12):
        targets = targets_of(strategy, context)
        distances = (targets[:, None] - bank[None]).flatten(2).norm(dim=2)
        assert (distances.min(dim=1).values < 1e-3).all()  # every target is the teacher's view of a noise image
        met.append(distances.argmin(dim=1).tolist())
    for image in range(4):
        assert len({step[image] for step in met}) >= 8


def test_retain_targets_are_the_teachers_features_and_computed_once() -> None:
    context = new_context()
    teacher, student = counting(context.teacher), counting(context.student)
    strategy = prepared(context)
    assert teacher.images == 16 + 1 + 5 * 4  # noise bank, a look at the size, four views of each retain image
    teacher.encoded.clear()
    for _ in range(5):
        strategy.objective(context, *halves(context))
    assert teacher.images == 0
    # A student with the teacher's bits is at distance 0 from every target, whichever view was drawn.
    with torch.no_grad():
        student.module.encoder.weight.copy_(teacher.module.encoder.weight)
    for _ in range(10):
        assert strategy.objective(context, *halves(context, 5)).terms["retain"].item() < 1e-13


def test_cached_targets_are_equal_to_the_bit_to_those_of_the_same_view() -> None:
    context = new_context()
    strategy = prepared(context)
    kept = strategy._retain
    assert context.retain is not None
    assert kept is not None
    indices = torch.arange(5)
    for _ in range(6):
        images, views, targets = kept.draw(context, Batch(context.retain.batch(indices), indices))
        with torch.no_grad():
            (fresh,) = context.teacher.encode(context.teacher.training_view(images, views))
        assert torch.equal(targets[0], fresh)


@pytest.mark.parametrize("task", [Inpaint(area=0.25), RandomMask(ratio=0.5)], ids=str)
def test_targets_that_do_not_fit_are_computed_in_each_step(task: Task) -> None:
    context = new_context(task)
    teacher = counting(context.teacher)
    strategy = prepared(context, cache_megabytes=0)
    before = teacher.images
    assert before <= 17
    terms = strategy.objective(context, *halves(context)).terms
    assert teacher.images == before + 4 + 4  # noise and retain images of one step
    with torch.no_grad():
        counting(context.student).module.encoder.weight.copy_(teacher.module.encoder.weight)
    again = strategy.objective(context, *halves(context)).terms
    assert again["retain"].item() < 1e-13 < terms["retain"].item()


def test_without_retain_data_only_the_forget_term_is_left() -> None:
    context = new_context(retain=False)
    assert set(prepared(context).objective(context, *halves(context)).terms) == {"forget"}


@pytest.mark.parametrize("augmented", [False, True])
def test_only_the_encoder_receives_gradients_and_the_rest_keeps_its_bits(augmented: bool) -> None:
    context = new_context()
    strategy = prepared(context, augment=augmented)
    student = counting(context.student)
    student.module.requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in student.module.state_dict().items()}
    teacher = {name: tensor.clone() for name, tensor in counting(context.teacher).module.state_dict().items()}
    parameters = strategy.trainable(student)
    optimiser = torch.optim.Adam(parameters.values(), lr=1e-2)
    losses = []
    for _ in range(20):
        total = strategy.objective(context, *halves(context, 8)).total
        optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(total.item())
    receiving = {name for name, parameter in student.module.named_parameters() if parameter.grad is not None}
    changed = {name for name, tensor in student.module.state_dict().items() if not torch.equal(tensor, before[name])}
    assert receiving == changed == {"encoder.weight", "encoder.bias"}
    assert losses[-1] < losses[0]
    after = counting(context.teacher).module.state_dict()
    assert all(torch.equal(after[name], teacher[name]) for name in teacher)


def test_preparing_again_after_a_resume_gives_the_same_losses() -> None:
    def losses(prepare_twice: bool) -> list[float]:
        context = new_context()
        strategy = prepared(context)
        if prepare_twice:
            strategy.prepare(context)
        return [strategy.objective(context, *halves(context)).total.item() for _ in range(3)]

    assert losses(False) == losses(True)


def test_preparing_leaves_the_generator_of_the_steps_alone() -> None:
    context = new_context()
    before = context.generator.get_state()
    prepared(context)
    assert torch.equal(before, context.generator.get_state())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_augmented_images_keep_their_shape_and_follow_the_generator() -> None:
    images = torch.rand(6, 3, 20, 32, generator=seeded(1))
    once = augment(images, seeded())
    assert once.shape == images.shape
    assert torch.equal(once, augment(images, seeded()))
    assert not torch.equal(once, augment(images, seeded(2)))


def test_augmentation_shifts_mirrors_and_relights_a_little() -> None:
    rows, columns = torch.meshgrid(torch.linspace(0.2, 0.8, 64), torch.linspace(0.2, 0.8, 64), indexing="ij")
    image = (0.5 * rows + 0.5 * columns)[None, None]
    mirrored = 0
    for seed in range(40):
        made = augment(image, seeded(seed))
        distances = [float((made - each).abs().max()) for each in (image, image.flip(-1))]
        mirrored += distances[1] < distances[0]
        # shift of 2 pixels on a slope, 15 % of contrast and 4.5 % of brightness
        assert min(distances) < 2 * 0.6 / 63 * 1.15 + 0.15 * 0.3 + 0.045 + 1e-3
    assert 10 <= mirrored <= 30
