"""PPO's losses by hand; micro-batches add up; what stands at padding is never read."""

import math

import pytest
import torch
from torch import Tensor

from backflip.errors import DataError
from backflip.maths.policy import entropy_from_logits, explained_variance, policy_loss, value_loss

F64 = torch.float64


def batch(seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Arguments of both losses for 6 ragged responses of up to 5 tokens; some tokens are clipped."""
    generator = torch.Generator().manual_seed(seed)
    a, b, c = torch.randn(3, 6, 5, generator=generator, dtype=F64)
    mask = torch.arange(5) < torch.tensor([5, 1, 3, 4, 2, 5])[:, None]
    policy = {"logprobs": a - 2, "old_logprobs": a - 2 + 0.3 * b, "advantages": c, "mask": mask}
    return policy, {"values": a, "old_values": a + 0.3 * b, "returns": c, "mask": mask}


def test_policy_loss_by_hand() -> None:
    # ratio 1.5, A = 1:    max(-1.5, -1.2) = -1.2, clipped
    # ratio 0.5, A = -1:   max(0.5, 0.8) = 0.8, clipped
    # ratio 1,   A = 2:    -2
    # mean (-1.2 + 0.8 - 2) / 3 = -0.8; approx_kl = 0.5 * (ln(1.5)^2 + ln(0.5)^2) / 3
    old = torch.tensor([[-1.0, -2.0, -0.5, 0.0]], dtype=F64)
    new = old + torch.tensor([[1.5, 0.5, 1.0, 1.0]], dtype=F64).log()
    advantages = torch.tensor([[1.0, -1.0, 2.0, math.nan]], dtype=F64)
    mask = torch.tensor([[1, 1, 1, 0]])
    out = policy_loss(logprobs=new, old_logprobs=old, advantages=advantages, mask=mask, clip=0.2)
    kl = 0.5 * (math.log(1.5) ** 2 + math.log(0.5) ** 2) / 3
    assert [x.item() for x in out] == pytest.approx([-0.8, 2 / 3, kl, 1.0], rel=1e-14)
    free = policy_loss(logprobs=new, old_logprobs=old, advantages=advantages, mask=mask, clip=math.inf)
    assert free.loss.item() == pytest.approx((-1.5 + 0.5 - 2) / 3, rel=1e-14)
    assert free.clip_fraction == 0


def test_an_unmoved_policy_has_ratio_one_and_the_plain_policy_gradient() -> None:
    args, _ = batch()
    new = args["old_logprobs"].clone().requires_grad_()
    out = policy_loss(**{**args, "logprobs": new}, clip=0.2)
    assert (out.ratio_mean, out.approx_kl, out.clip_fraction) == (1, 0, 0)
    (grad,) = torch.autograd.grad(out.loss, new)
    wanted = torch.where(args["mask"], -args["advantages"], 0.0) / args["mask"].sum()
    torch.testing.assert_close(grad, wanted, rtol=1e-14, atol=0)


def test_value_loss_by_hand() -> None:
    # V 1, old 0.5, R 2: (1-2)^2 = 1, clip(1, 0.3..0.7) = 0.7: (0.7-2)^2 = 1.69, clipped
    # V 0, old 0, R 1: 1 both ways; 0.5 * (1.69 + 1) / 2 = 0.6725
    args = {"values": [[1.0, 0.0]], "old_values": [[0.5, 0.0]], "returns": [[2.0, 1.0]], "mask": [[1, 1]]}
    tensors = {name: torch.tensor(x, dtype=F64) for name, x in args.items()}
    assert [x.item() for x in value_loss(**tensors, clip=0.2)] == pytest.approx([0.6725, 0.5], rel=1e-14)
    assert [x.item() for x in value_loss(**tensors, clip=math.inf)] == pytest.approx([0.5, 0], rel=1e-14)


@pytest.mark.parametrize("which", [0, 1])
def test_micro_batches_add_up_to_the_minibatch(which: int) -> None:
    args, loss = batch(1)[which], (policy_loss, value_loss)[which]
    whole = loss(**args, clip=0.2)
    total = args["mask"].sum()
    parts = [loss(**{k: v[rows] for k, v in args.items()}, clip=0.2, total=total) for rows in ([0], [1, 2, 3], [4, 5])]
    for name in whole._fields:
        assert sum(getattr(p, name) for p in parts).item() == pytest.approx(getattr(whole, name).item(), rel=1e-13)
    assert 0 < whole.clip_fraction < 1


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("junk", [math.nan, math.inf, -1e30])
def test_padding_reaches_neither_loss_nor_gradient(which: int, junk: float) -> None:
    args, loss = batch(2)[which], (policy_loss, value_loss)[which]
    trained = next(iter(args))
    results = []
    for fill in (0.0, junk):
        filled = {k: v if k == "mask" else torch.where(args["mask"], v, fill) for k, v in args.items()}
        filled[trained].requires_grad_()
        out = loss(**filled, clip=0.2)
        results.append((*(x.detach() for x in out), *torch.autograd.grad(out.loss, filled[trained])))
    for clean, dirty in zip(*results, strict=True):
        assert torch.equal(clean, dirty)


@pytest.mark.parametrize("which", [0, 1])
def test_gradients_and_detached_statistics(which: int) -> None:
    args, loss = batch(3)[which], (policy_loss, value_loss)[which]
    trained = next(iter(args))
    x = args[trained].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(**{**args, trained: x}, clip=0.2).loss, x)
    assert [t.requires_grad for t in loss(**{**args, trained: x}, clip=0.2)][1:] == [False] * (
        len(loss(**args, clip=0.2)) - 1
    )


@pytest.mark.parametrize("which", [0, 1])
def test_dtype_and_shapes(which: int) -> None:
    args, loss = batch()[which], (policy_loss, value_loss)[which]
    single = {k: v if k == "mask" else v.float() for k, v in args.items()}
    assert {x.dtype for x in loss(**single, clip=0.2)} == {torch.float32}
    with pytest.raises(DataError, match="shapes differ"):
        loss(**{**args, "mask": args["mask"][:, :4]}, clip=0.2)


def test_entropy() -> None:
    # uniform over 4: ln 4; one certain token: 0; a token that cannot be sampled counts for nothing: ln 2
    logits = torch.tensor(
        [[1.0, 1, 1, 1], [0, -math.inf, -math.inf, -math.inf], [3, 3, -math.inf, -math.inf]], dtype=F64
    )
    logits.requires_grad_()
    entropy = entropy_from_logits(logits)
    assert entropy.tolist() == pytest.approx([math.log(4), 0, math.log(2)], abs=1e-15)
    (grad,) = torch.autograd.grad(entropy.sum(), logits)
    assert grad.isfinite().all()
    random = torch.randn(3, 5, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(entropy_from_logits, random)
    torch.testing.assert_close(entropy_from_logits(random), torch.distributions.Categorical(logits=random).entropy())


def test_explained_variance() -> None:
    # returns 1, 2, 3: variance 2/3; errors 0, 0, 1: variance 2/9; 1 - 1/3
    returns, mask = torch.tensor([[1.0, 2.0, 3.0, math.nan]], dtype=F64), torch.tensor([[1, 1, 1, 0]])
    values = torch.tensor([[1.0, 2.0, 2.0, 5.0]], dtype=F64)
    assert explained_variance(values=values, returns=returns, mask=mask).item() == pytest.approx(2 / 3, rel=1e-14)
    assert explained_variance(values=returns + 7, returns=returns, mask=mask) == 1
    assert explained_variance(values=0 * values, returns=returns, mask=mask) == 0
