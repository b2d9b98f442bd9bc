import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.nn.functional import cosine_similarity

from pml_incremental.estimators import (
    EstimatorBank,
    LinearEstimator,
)
from pml_incremental.estimators.bank import Draws
from pml_incremental.storage import read_tensor_file

WIDTH = 6
SPECS = {
    "accuracy-change": {"AccuracyChangeEstimator": {"low": -0.1, "high": 0.2}},
    "drift": "DriftEstimator",
    "linear": "LinearEstimator",
    "linear-rank": {"LinearEstimator": {"rank": 2}},
    "mlp": {"MLPEstimator": {"hidden": 4, "steps": 2}},
}


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def change_of_teacher(task, width=WIDTH, batches=3):
    """Features of M_task and M_task+1 on the same images, batch by batch."""
    return [
        (randn(20, width, seed=100 * task + b), randn(20, width, seed=100 * task + b + 50))
        for b in range(batches)
    ]


def filled(spec, tasks=3, width=WIDTH, **kwargs):
    bank = EstimatorBank(spec, **kwargs)
    for task in range(1, tasks + 1):
        bank.update(change_of_teacher(task, width))
    return bank


@pytest.fixture(params=SPECS)
def spec(request):
    return SPECS[request.param]


def states_equal(first, second):
    tensors, others = first.pop("tensors"), second.pop("tensors")
    same = tensors.keys() == others.keys()
    return first == second and same and all(torch.equal(tensors[n], others[n]) for n in tensors)


def test_empty_bank_estimates_nothing():
    bank = EstimatorBank()
    assert bank.estimate(randn(7, WIDTH).bfloat16()).shape == (0, 7, WIDTH)
    assert bank.estimate(randn(7, WIDTH).bfloat16()).dtype == torch.float32
    assert EstimatorBank(embedding_width=4).estimate(randn(7, WIDTH)).shape == (0, 7, 4)
    assert bank.nbytes == 0


def test_the_leaving_teacher_is_learned_from_its_features_and_older_ones_from_their_estimates():
    bank = filled("LinearEstimator", tasks=2)
    pairs = change_of_teacher(3)
    expected = LinearEstimator()
    for old, new in pairs:
        expected.observe(torch.cat([bank.estimate(old), old[None]]), new)
    expected.fit()
    bank.update(pairs)
    features = randn(9, WIDTH)
    assert torch.equal(bank.estimate(features), expected.estimate(features))


def test_linear_banks_recover_true_linear_drift_over_five_tasks():
    models = [randn(WIDTH, WIDTH, seed=t).double() for t in range(6)]  # M_t(x) = x @ models[t] + t
    bank = EstimatorBank({"LinearEstimator": {"ridge": 1e-9}})
    for t in range(1, 6):
        images = randn(300, WIDTH, seed=10 + t).double()
        bank.update([(images @ models[t - 1] + t - 1, images @ models[t] + t)])
    images = randn(20, WIDTH, seed=99).double()
    estimates = bank.estimate(images @ models[5] + 5)
    for k in range(5):
        torch.testing.assert_close(estimates[k], images @ models[k] + k, rtol=1e-3, atol=1e-3)


def test_batches_are_consumed_one_at_a_time(spec):
    alive = []

    def generator():
        for old, new in change_of_teacher(1):
            alive.append(old)
            yield old, new

    bank = EstimatorBank(spec)
    bank.update(generator())
    assert len(alive) == 3
    assert states_equal(bank.state_dict(), filled(spec, tasks=1).state_dict())


def test_more_columns_behind_the_embeddings(spec):
    bank = EstimatorBank(spec, embedding_width=WIDTH)
    pairs = [(randn(30, WIDTH + 3, seed=s), randn(30, WIDTH + 3, seed=s + 1)) for s in (1, 3, 5)]
    for pair in pairs:
        bank.update([pair])
    assert bank.estimate(pairs[-1][1]).shape == (3, 30, WIDTH)


def test_further_columns_may_tell_what_the_embedding_does_not():
    hidden = randn(500, 4)
    old, new = hidden[:, :2], hidden[:, 2:]
    bank = EstimatorBank({"LinearEstimator": {"ridge": 1e-6}}, embedding_width=2)
    bank.update([(old, torch.cat([new, hidden], dim=1))])
    estimate = bank.estimate(torch.cat([new, hidden], dim=1))
    torch.testing.assert_close(estimate[0], old, rtol=0, atol=1e-3)


def test_ranges_reach_the_estimator():
    bank = filled("AccuracyChangeEstimator", tasks=2)
    assert bank.needs_ranges
    bank.set_ranges({1: (0.5, 0.5), 2: (-0.5, -0.5)})
    features = randn(5, WIDTH)
    expected = torch.stack([1.5 * features, 0.5 * features])
    torch.testing.assert_close(bank.estimate(features), expected)
    bank.update(change_of_teacher(3))
    message = "no accuracy range is set for prior model M_1, M_2, M_3"
    with pytest.raises(RuntimeError, match=message):
        bank.estimate(features)
    other = filled("LinearEstimator", tasks=1)
    assert not other.needs_ranges
    with pytest.raises(TypeError, match="takes no ranges"):
        other.set_ranges({1: (0.0, 0.1)})


def test_an_empty_bank_has_no_ranges():
    with pytest.raises(ValueError, match="low is above high in the range of prior model M_2"):
        filled("AccuracyChangeEstimator", tasks=2).set_ranges({2: (0.2, 0.1)})
    with pytest.raises(ValueError, match="the bank is empty and does not hold M_"):
        EstimatorBank("AccuracyChangeEstimator").set_ranges({2: (0.1, 0.2)})


@pytest.mark.parametrize(
    ("spec", "limit"),
    [
        ("AccuracyChangeEstimator", 1e3),
        ("DriftEstimator", 100e3),
        ({"LinearEstimator": {"rank": 64}}, 3e6),
    ],
)
def test_bytes_for_ten_prior_models_of_width_512(spec, limit):
    bank = EstimatorBank(spec)
    for task in range(1, 11):
        bank.update([(randn(16, 512, seed=task), randn(16, 512, seed=task + 1))])
        if bank.needs_ranges:
            bank.set_ranges(dict.fromkeys(range(1, task + 1), (0.0, 0.1)))
    assert len(bank) == 10
    assert 0 < bank.nbytes < limit
    assert bank.nbytes == sum(t.nbytes for t in bank.state_dict()["tensors"].values())
    assert len(pickle.dumps(bank)) < 2 * limit + 4096  # nothing else is kept


def test_save_and_load_continue_to_the_bit(spec, tmp_path):
    bank = filled(spec, seed=7)
    features = randn(9, WIDTH)
    bank.estimate(features)
    bank.save(tmp_path / "bank.safetensors")
    another = EstimatorBank(spec)
    another.load(tmp_path / "bank.safetensors", width=WIDTH, prior_models=3)
    assert len(another) == 3
    for _ in range(2):
        assert torch.equal(another.estimate(features), bank.estimate(features))
    for one in (bank, another):
        one.update(change_of_teacher(4))
    assert torch.equal(another.estimate(features), bank.estimate(features))
    torch.save(bank.state_dict(), tmp_path / "checkpoint.pt")
    third = EstimatorBank(spec)
    third.load_state_dict(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    for one in (another, third):
        assert states_equal(one.state_dict(), bank.state_dict())


def test_empty_banks_are_saved_too(tmp_path):
    EstimatorBank(seed=5).save(tmp_path / "bank.safetensors")
    bank = filled("LinearEstimator", tasks=1)
    bank.load(tmp_path / "bank.safetensors", width=WIDTH, prior_models=0)
    assert len(bank) == 0
    assert bank.state_dict()["seed"] == 5


def test_file_is_plain_safetensors_beside_readable_json(tmp_path):
    path = tmp_path / "bank.safetensors"
    filled({"LinearEstimator": {"ridge": 0.1}}).save(path)
    assert load_file(path)["weight"].shape == (3, WIDTH, WIDTH)
    assert [path.name for path in tmp_path.iterdir()] == ["bank.safetensors"]
    plain = read_tensor_file(path, "").state["estimator_bank"]
    assert plain["estimator"] == "pml_incremental.estimators.linear:LinearEstimator"
    assert plain["hyperparameters"] == {"ridge": 0.1, "rank": None}
    assert plain["prior_models"] == 3


HOLDS = "holds estimates of M_1 to M_3, expected "
MADE = "bank of M_1 to M_3 was made with "


@pytest.mark.parametrize(
    ("spec", "width", "expected", "message"),
    [
        ("LinearEstimator", None, {"prior_models": 4}, HOLDS + "M_1 to M_4"),
        ("LinearEstimator", None, {"prior_models": 0}, HOLDS + "none"),
        ("LinearEstimator", None, {"width": 128}, "of M_1 to M_3 have width 6, expected 128"),
        ("DriftEstimator", None, {}, MADE + "estimator = .*LinearEstimator.*DriftEstimator"),
        (SPECS["linear-rank"], None, {}, MADE + "hyperparameters = .*'rank': None.*'rank': 2"),
        ("LinearEstimator", 4, {}, MADE + "embedding_width = None, this one with 4"),
    ],
)
def test_a_bank_of_another_kind_is_refused_and_changes_nothing(
    spec, width, expected, message, tmp_path
):
    path = tmp_path / "bank.safetensors"
    filled("LinearEstimator").save(path)
    bank = EstimatorBank(spec, embedding_width=width)
    before = bank.state_dict()
    with pytest.raises(ValueError, match=f"bank.safetensors: .*{message}"):
        bank.load(path, **expected)
    assert states_equal(bank.state_dict(), before)


def test_broken_files(tmp_path):
    path = tmp_path / "bank.safetensors"
    with pytest.raises(FileNotFoundError, match=r"bank\.safetensors"):
        EstimatorBank().load(path)
    path.write_bytes(b"not a bank")
    with pytest.raises(ValueError, match=r"bank\.safetensors is damaged: .* EstimatorBank\.save"):
        EstimatorBank().load(path)
    filled("LinearEstimator").save(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bank\.safetensors is damaged: it fails its checksum"):
        EstimatorBank().load(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="has no estimator bank: write it with EstimatorBank"):
        EstimatorBank().load(path)
    state = filled("LinearEstimator").state_dict()
    state["tensors"]["weight"] = state["tensors"]["weight"][:2]
    with pytest.raises(ValueError, match=r"'weight' must .* for each of M_1 to M_3"):
        EstimatorBank().load_state_dict(state)


def with_nan(tensor):
    tensor = tensor.clone()
    tensor[3, 0] = float("nan")
    return tensor


def unreadable(pair):
    raise OSError("cannot read glyph_17.png")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda old, new: (with_nan(old), new), "M_3 in batch 2 hold NaN or infinity in 1 of 20"),
        (lambda old, new: (old, with_nan(new)), "of M_4 in batch 2 hold NaN"),
        (lambda old, new: (old, new[1:]), "M_3 in batch 2 have 20 rows but .* M_4 .* have 19"),
        (lambda old, new: (old[:, 1:], new[:, 1:]), "batch 2 have width 5 .* M_1 to M_2 .* 6"),
        (lambda old, new: (old, new[:, 1:]), "M_3 in batch 2 have width 6 but .* M_4 .* have 5"),
        (lambda old, new: (old[:0], new[:0]), "M_3 in batch 2 must have shape .* at least one row"),
        (lambda old, new: unreadable(new), "cannot read glyph_17.png"),
    ],
)
def test_a_failed_update_leaves_the_bank_as_it_was(spec, change, message):
    bank = filled(spec, tasks=2)
    before = copy.deepcopy(bank.state_dict())
    first, second, _ = change_of_teacher(3)
    with pytest.raises((ValueError, OSError), match=message):
        bank.update(pair if pair is first else change(*pair) for pair in (first, second))
    assert states_equal(bank.state_dict(), before)
    bank.update(change_of_teacher(3))
    assert states_equal(bank.state_dict(), filled(spec).state_dict())


def test_what_a_bank_cannot_learn_or_estimate_from():
    with pytest.raises(ValueError, match="there is no batch to learn M_3 from"):
        filled("LinearEstimator", tasks=2).update([])
    bank = EstimatorBank(embedding_width=8)
    with pytest.raises(ValueError, match=r"M_1 in batch 1 have width 6: too few for .* width 8"):
        bank.update(change_of_teacher(1))
    with pytest.raises(ValueError, match="embedding_width must be at least 1, got 0"):
        EstimatorBank(embedding_width=0)
    with pytest.raises(ValueError, match=r"M_1 to M_3 need features of shape \(N, 6\)"):
        filled("LinearEstimator").estimate(randn(5, 4))


@pytest.mark.parametrize("spec", [SPECS["accuracy-change"], SPECS["drift"]])
def test_random_draws(spec):
    """Fresh at each call, the same for equal seeds, apart from torch's global generator."""
    features = randn(9, WIDTH)
    bank, twin, other = (filled(spec, seed=seed) for seed in (0, 0, 1))
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    first, second = bank.estimate(features), bank.estimate(features)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(first, second)
    assert torch.equal(twin.estimate(features), first)
    assert not torch.equal(other.estimate(features), first)
    given = [bank.estimate(features, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*given)
    assert torch.equal(twin.estimate(features), second)


def test_a_template_is_never_changed():
    template = LinearEstimator(rank=2)
    bank = EstimatorBank(template)
    bank.update(change_of_teacher(1))
    with pytest.raises(RuntimeError, match="has observed nothing"):
        template.fit()


def test_copies_are_independent(spec):
    bank = filled(spec)
    features = randn(9, WIDTH)
    copied = copy.deepcopy(bank)
    expected = pickle.loads(pickle.dumps(bank)).estimate(features)
    assert torch.equal(copied.estimate(features), expected)
    copied.update(change_of_teacher(4))
    assert len(bank) == 3
    assert torch.equal(bank.estimate(features), expected)


def numbers(draws, times=1):
    return [torch.rand(4, generator=draws.next("cpu")).tolist() for _ in range(times)]


def test_draws_differ_from_each_other_and_between_seeds_and_go_on_where_they_were_left():
    drawn = [tuple(row) for seed in range(20) for row in numbers(Draws(seed), times=20)]
    assert len(set(drawn)) == 400
    draws = Draws(seed=3)
    numbers(draws, times=5)
    continued = Draws(draws.seed, draws.count)
    assert numbers(continued, times=3) == numbers(copy.copy(draws), times=3)
    assert draws.count == 5
    assert numbers(Draws(-1)) != numbers(Draws(2**70))  # seeds may be negative or large


def test_draws_in_a_row_are_uniform_together():
    """Seeding anew each time must not leave a pattern across draws."""
    draws = Draws(seed=0)
    first = torch.stack([torch.rand(1, generator=draws.next("cpu")) for _ in range(4000)]).flatten()
    assert abs(first.mean().item() - 0.5) < 6 * (1 / 12 / 4000) ** 0.5
    assert abs(torch.corrcoef(torch.stack([first[:-1], first[1:]]))[0, 1]) < 6 / 4000**0.5


@st.composite
def streams(draw):
    """Features by the models M_1 .. M_t on the images of each task from the second on."""
    width, tasks = draw(st.integers(2, 5)), draw(st.integers(1, 3))
    sizes = draw(st.lists(st.integers(1, 12), min_size=tasks, max_size=tasks))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([1e-3, 1.0, 100.0]))
    return [scale * torch.randn(2, size, width, generator=generator) for size in sizes]


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@settings(max_examples=15, deadline=None)
@given(stream=streams())
def test_a_bank_comes_back_and_estimates_are_finite(spec, stream):
    bank = EstimatorBank(spec, seed=1)
    for number, (leaving, coming) in enumerate(stream, 1):
        bank.update([(leaving, coming)])
        assert len(bank) == number
    features = stream[-1][1]
    again = EstimatorBank(spec, seed=1)
    again.load_state_dict(bank.state_dict())
    first, second = bank.estimate(features), again.estimate(features)
    assert first.shape == (len(stream), *features.shape)
    assert first.isfinite().all()
    assert torch.equal(first, second)
    assert torch.equal(bank.estimate(features), again.estimate(features))  # draws go on alike


@pytest.mark.parametrize("spec", [{"DriftEstimator": {"scale": 0.0}}, "LinearEstimator"])
@settings(max_examples=15, deadline=None)
@given(stream=streams())
def test_a_model_that_did_not_change_is_estimated_as_it_is(spec, stream):
    bank = EstimatorBank(spec)
    features = torch.cat([coming for _, coming in stream])
    rows = torch.cat([features, torch.eye(features.shape[1]) * features.abs().max()])
    bank.update([(rows, rows)])
    assert cosine_similarity(bank.estimate(rows)[0], rows).min() > 0.99
