"""Packed weights: the same numbers, only inside, and only where they gain."""

import pytest
import torch
from torch import nn

from negalign_train.generation.packed_linear import can_pack, packed_linears

needs_onednn = pytest.mark.skipif(not can_pack(), reason="no AVX-512 or no packed layers here")


def layers(bias=True):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(256, 512, bias=bias), nn.ReLU(), nn.Linear(512, 256, bias=bias))


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
def test_packed_layers_give_the_same_numbers_also_for_views(bias):
    model, x = layers(bias), torch.randn(3, 9, 256)
    with torch.inference_mode():
        expected = model(x[:, ::2])
        with packed_linears(model):
            assert torch.allclose(model(x[:, ::2]), expected, atol=1e-5)


@needs_onednn
def test_large_calls_take_packed_weights_and_small_ones_do_not():
    model, x = layers(), torch.randn(8, 256)
    with torch.no_grad(), packed_linears(model):
        before = model(x)
        # What was packed no longer reads the layer's own weights.
        model[0].weight.zero_()
        assert torch.equal(model(x), before)
        assert not torch.equal(model(x[:1]), before[:1])


def test_after_it_every_layer_is_as_before_and_gradients_flow_inside():
    model, x = layers(), torch.randn(8, 256)
    with packed_linears(model):
        model(x).sum().backward()
    assert model[0].weight.grad.abs().sum() > 0
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_forward_that_somebody_replaced_stays():
    model = layers()

    def own(x):
        return x

    model[0].forward = own
    with packed_linears(model):
        assert model[0].forward is own
    assert model[0].forward is own
