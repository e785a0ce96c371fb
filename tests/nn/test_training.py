"""A small network, trained: what a step leaves behind."""

import gc

import minigen as mg
from minigen import nn
from minigen.autograd import Node


class Small(nn.Module):
    """Convolution, norm and attention, on (N, 4, 4, 2)."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Linear(4, 1)

    def forward(self, x):
        h = self.norm(self.conv(x)).reshape(-1, 16, 2, 2)
        return self.out(mg.scaled_dot_product_attention(h, h, h).reshape(-1, 16, 4)).mean()


def test_fifty_steps_leave_no_more_behind_than_one():
    model = Small()
    optimizer = mg.optim.Adam(model.parameters())

    def step():
        x = mg.randn(2, 4, 4, 2).requires_grad_()
        (slope,) = mg.grad(model(x), x, create_graph=True)  # a gradient penalty: second order
        optimizer.zero_grad()
        (model(x) + (slope * slope).sum() + mg.checkpoint(model, x)).backward()
        optimizer.step()

    def alive():
        return sum(type(o) in (mg.Tensor, nn.Parameter, Node) for o in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        step()
        after_one = alive()
        for _ in range(49):
            step()
        assert alive() == after_one
    finally:
        gc.enable()
