"""Every kernel in plain NumPy: the specification, written to be read.

Channels last: images (N,H,W,C), sequences (N,L,C), volumes (N,D,H,W,C); `*S` stands for one to three spatial
axes. Arrays are float32 or float64, one dtype per call, and the results have that dtype. Nothing is modified.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kernels import checks
from kernels.checks import IntOrInts, Ints, Resampling, Window

Array = NDArray[Any]

# ---- matrix products -----------------------------------------------------------------------------------


def matmul(a: Array, b: Array, bias: Array | None = None) -> Array:
    """y[m,n] = sum_k a[m,k] b[k,n] + bias[n]."""
    checks.matmul(a, b, bias)
    return in_order(a @ b if bias is None else a @ b + bias)


# ---- convolution ---------------------------------------------------------------------------------------
# One equation, y[p] += x[s p + d k - pad] w[k], is linear in x and in w. Read forwards it is `conv`; its two
# transposes, which carry the gradient of y to x and to w, are `conv_transpose` and `conv_weight_grad`.


def conv(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntOrInts = 1,
    padding: IntOrInts = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
    slope: float = 1.0,
) -> Array:
    """y[n,p,o] = bias[o] + sum_k sum_c x[n, stride p + dilation k - padding, c] weight[k,c,o]; times slope if negative.

    x (N,*S,C), weight (*K, C/groups, O), bias (O,) -> y (N,*So,O), zeros beyond the edges of x, and
    So = (S + 2 padding - dilation (K - 1) - 1) // stride + 1. Group j of the output channels sees group j
    of the input channels only (Krizhevsky et al. 2012). slope 0 is a relu, 0.2 a leaky one.
    Dumoulin & Visin 2016, arXiv:1603.07285.
    """
    window = checks.conv(x, weight, bias, stride, padding, dilation, groups, slope)
    if groups > 1:  # as many separate convolutions, side by side
        pairs = zip(np.split(x, groups, -1), np.split(weight, groups, -1))
        y = np.concatenate([conv(x_j, w_j, None, stride, padding, dilation) for x_j, w_j in pairs], -1)
    else:
        padded = pad_spatial(x, window.padding)
        y = np.zeros((len(x), *window.out, weight.shape[-1]), x.dtype)
        for tap in np.ndindex(window.kernel):
            y += seen_by(tap, padded, window, window.out) @ weight[tap]  # (N,*So,C) @ (C,O) -> (N,*So,O)
    y = y if bias is None else y + bias
    return y if slope == 1 else np.where(y < 0, y * y.dtype.type(slope), y)


def conv_transpose(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntOrInts = 1,
    padding: IntOrInts = 0,
    output_padding: IntOrInts = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
) -> Array:
    """y[n, stride q + dilation k - padding, o] += x[n,q,c] weight[k,c,o]; then y += bias.

    x (N,*Q,C), weight (*K, C, O/groups), bias (O,) -> y (N,*S,O) with
    S = (Q - 1) stride - 2 padding + dilation (K - 1) + 1 + output_padding. It is the input gradient of `conv`
    when handed that weight with its last two axes swapped; output_padding then gives back the rows of the
    input that the stride left over. Dumoulin & Visin 2016, arXiv:1603.07285, chapter 4.
    """
    window = checks.conv_transpose(x, weight, bias, stride, padding, output_padding, dilation, groups)
    if groups > 1:
        pairs = zip(np.split(x, groups, -1), np.split(weight, groups, -2))
        parts = [conv_transpose(x_j, w_j, None, stride, padding, output_padding, dilation) for x_j, w_j in pairs]
        y = np.concatenate(parts, -1)
    else:
        padded = pad_spatial(np.zeros((len(x), *window.out, weight.shape[-1]), x.dtype), window.padding)
        for tap in np.ndindex(window.kernel):
            view = seen_by(tap, padded, window, x.shape[1:-1])
            view += x @ weight[tap]  # (N,*Q,C) @ (C,O) -> (N,*Q,O)
        inside = tuple(slice(p, p + size) for p, size in zip(window.padding, window.out))
        y = padded[:, *inside].copy()
    return y if bias is None else y + bias


def conv_weight_grad(
    x: Array,
    g: Array,
    kernel_size: IntOrInts,
    stride: IntOrInts = 1,
    padding: IntOrInts = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
) -> Array:
    """dw[k,c,o] = sum_n sum_p x[n, stride p + dilation k - padding, c] g[n,p,o].

    The gradient of conv's weight for the gradient g (N,*So,O) of its output: (*K, C/groups, O).
    """
    window = checks.conv_weight_grad(x, g, kernel_size, stride, padding, dilation, groups)
    if groups > 1:
        pairs = zip(np.split(x, groups, -1), np.split(g, groups, -1))
        parts = [conv_weight_grad(x_j, g_j, kernel_size, stride, padding, dilation) for x_j, g_j in pairs]
        return np.concatenate(parts, -1)
    padded, over = pad_spatial(x, window.padding), tuple(range(x.ndim - 1))
    dweight = np.empty((*window.kernel, x.shape[-1], g.shape[-1]), x.dtype)
    for tap in np.ndindex(window.kernel):
        x_tap = seen_by(tap, padded, window, window.out)
        dweight[tap] = np.tensordot(x_tap, g, axes=(over, over))  # (N,*So,C), (N,*So,O) -> (C,O)
    return dweight


def pad_spatial(x: Array, padding: Ints) -> Array:
    return np.pad(x, [(0, 0), *((p, p) for p in padding), (0, 0)])


def seen_by(tap: Ints, padded: Array, window: Window, positions: Ints) -> Array:
    """The view of `padded` that one tap of the kernel meets as it slides: [n, stride p + dilation tap, c]."""
    slides = zip(tap, window.stride, window.dilation, positions)
    return padded[:, *(slice(d * k, d * k + s * (p - 1) + 1, s) for k, s, d, p in slides)]


# ---- group normalisation -------------------------------------------------------------------------------


def group_norm(
    x: Array,
    num_groups: int,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
    silu: bool = False,
) -> tuple[Array, Array, Array]:
    """y = (x - mean) rstd weight + bias, and then y sigmoid(y) if silu; gives (y, mean, rstd).

    mean and rstd = 1 / sqrt(variance + eps), both (N, num_groups), are taken over the positions and the
    channels of a group of one sample of x (N,*S,C), *S possibly empty; in float64, whatever the dtype. weight
    and bias are (C,). One group is layer norm, C groups are instance norm. Wu & He 2018, arXiv:1803.08494.
    """
    checks.group_norm(x, num_groups, weight, bias, eps)
    grouped = split_groups(x.astype(np.float64), num_groups)  # (N,M,G,C/G)
    mean = grouped.mean(axis=(1, 3))
    rstd = 1 / np.sqrt(grouped.var(axis=(1, 3)) + eps)
    mean, rstd = in_order(mean.astype(x.dtype)), in_order(rstd.astype(x.dtype))
    y = affine(normalised(x, mean, rstd), weight, bias)
    return in_order(y * sigmoid(y) if silu else y), mean, rstd


def group_norm_backward(
    g: Array,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    rstd: Array,
    num_groups: int,
    silu: bool = False,
) -> tuple[Array, Array | None, Array | None]:
    """The gradients (dx, dweight, dbias) for the gradient g of y; None for a weight or bias that is None.

    Write n = (x - mean) rstd and u = n weight + bias. With silu, y = u s(u) for the sigmoid s, so
    du = g s(u) (1 + u (1 - s(u))); without, du = g. Then
        dbias = sum du,   dweight = sum du n   (over samples and positions),   dn = du weight.
    Within a group of size m,  dmean/dx = 1/m  and  drstd/dx = -rstd^2 n / m,  so that
        dn_j/dx_i = rstd (delta_ij - 1/m - n_i n_j / m),
        dx = rstd (dn - average(dn) - n average(dn n)).
    """
    checks.group_norm_backward(g, x, weight, bias, mean, rstd, num_groups)
    n = normalised(x, mean, rstd)
    if silu:
        u = affine(n, weight, bias)
        s = sigmoid(u)
        g = g * s * (1 + u * (1 - s))
    over = tuple(range(x.ndim - 1))
    dweight = None if weight is None else (g * n).sum(over)
    dbias = None if bias is None else g.sum(over)
    dn = split_groups(g if weight is None else g * weight, num_groups)
    n = split_groups(n, num_groups)
    average_dn = dn.mean(axis=(1, 3), keepdims=True)  # (N,1,G,1)
    average_dn_n = (dn * n).mean(axis=(1, 3), keepdims=True)
    dx = rstd[:, None, :, None] * (dn - average_dn - n * average_dn_n)
    return in_order(dx.reshape(x.shape)), dweight, dbias


def split_groups(x: Array, num_groups: int) -> Array:
    """(N,*S,C) -> (N,M,G,C/G) with the M positions of S in one axis."""
    return x.reshape(len(x), math.prod(x.shape[1:-1]), num_groups, x.shape[-1] // num_groups)


def normalised(x: Array, mean: Array, rstd: Array) -> Array:
    grouped = split_groups(x, mean.shape[1])
    return ((grouped - mean[:, None, :, None]) * rstd[:, None, :, None]).reshape(x.shape)


def affine(n: Array, weight: Array | None, bias: Array | None) -> Array:
    n = n if weight is None else n * weight
    return n if bias is None else n + bias


def sigmoid(x: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * x))  # 1 / (1 + exp(-x)), without its overflow


# ---- softmax -------------------------------------------------------------------------------------------


def softmax(x: Array) -> Array:
    """y = exp(x) / sum(exp(x)) over the last axis of x (*S,L); nan where all of that is -inf."""
    checks.softmax(x)
    y = np.exp(x - x.max(axis=-1, keepdims=True, initial=-np.inf))
    return in_order(y / y.sum(axis=-1, keepdims=True))


def softmax_backward(g: Array, y: Array) -> Array:
    """dx for the gradient g of y = softmax(x): as dy_i/dx_j = y_i (delta_ij - y_j), it is y (g - sum(g y))."""
    checks.softmax_backward(g, y)
    return in_order(y * (g - (g * y).sum(axis=-1, keepdims=True)))


# ---- attention -----------------------------------------------------------------------------------------


def attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> tuple[Array, Array]:
    """out = softmax(scale q k^T + mask) v for each head, and the log-sum-exp of each row of scores.

    q (N,L,H,D), k (N,S,H,D), v (N,S,H,E) -> out (N,L,H,E), lse (N,H,L); scale is 1/sqrt(D) unless given.
    mask broadcasts to (N,H,L,S): a bool True attends, a float is added. Causal: query l sees keys s <= l.
    A row that attends to nothing gives 0 and lse -inf. Vaswani et al. 2017, arXiv:1706.03762, eq. 1.
    """
    scale = checks.attention(q, k, v, mask, scale)
    scores = attention_scores(q, k, mask, is_causal, scale)  # (N,H,L,S)
    top = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    top = np.where(np.isneginf(top), 0, top).astype(q.dtype)  # -inf - -inf would be nan
    p = np.exp(scores - top)
    total = p.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):
        lse = (top + np.log(total))[..., 0]
    p /= np.where(total == 0, 1, total)
    return in_order(np.einsum("nhls,nshe->nlhe", p, v)), in_order(lse)


def attention_backward(
    g: Array,
    out: Array,
    lse: Array,
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> tuple[Array, Array, Array]:
    """The gradients (dq, dk, dv) for the gradient g (N,L,H,E) of out.

    For one head, with S = scale q k^T + mask, P = exp(S - lse) row by row, and out = P v:
        dv = P^T g,   dP = g v^T,   dS = P (dP - sum_s P dP)   (the softmax, row by row),
        dq = scale dS k,   dk = scale dS^T q.
    The row sum needs no scores: sum_s P_ls dP_ls = sum_e g_le (P v)_le = g_l . out_l
    (FlashAttention, Dao et al. 2022, arXiv:2205.14135, appendix B.2).
    """
    scale = checks.attention_backward(g, out, lse, q, k, v, mask, scale)
    scores = attention_scores(q, k, mask, is_causal, scale)
    p = np.exp(scores - np.where(np.isneginf(lse), 0, lse)[..., None])
    dp = np.einsum("nlhe,nshe->nhls", g, v)
    row_sum = np.einsum("nlhe,nlhe->nhl", g, out)
    ds = p * (dp - row_sum[..., None]) * q.dtype.type(scale)
    dq = np.einsum("nhls,nshd->nlhd", ds, k)
    dk = np.einsum("nhls,nlhd->nshd", ds, q)
    dv = np.einsum("nhls,nlhe->nshe", p, g)
    return in_order(dq), in_order(dk), in_order(dv)


def attention_scores(q: Array, k: Array, mask: Array | None, is_causal: bool, scale: float) -> Array:
    """(N,H,L,S), -inf where a query must not look."""
    scores = np.einsum("nlhd,nshd->nhls", q, k) * q.dtype.type(scale)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    if is_causal:
        query, key = np.ogrid[: q.shape[1], : k.shape[1]]
        scores = np.where(key <= query, scores, -np.inf)
    return scores.astype(q.dtype, copy=False)


# ---- counter-based random numbers ----------------------------------------------------------------------


def philox4x32(counter: Array, key: Sequence[int]) -> Array:
    """Philox4x32-10: uint32 counters (..., 4) and two 32-bit key words -> random uint32 (..., 4).

    A bijection of the counter for each key: ten rounds of two 32x32 -> 64 bit multiplications, whose halves
    are crossed and mixed with the key, which itself moves on along a Weyl sequence.
    Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3.
    """
    c0, c1, c2, c3 = np.moveaxis(counter.astype(np.uint64), -1, 0)
    k0, k1 = (np.uint64(word) for word in key)
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(10):
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ k0, p1 & low, (p0 >> half) ^ c3 ^ k1, p0 & low
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def philox(seed: int, draw: int, row: int, blocks: int) -> Array:
    """The first `blocks` blocks of four random words of a row of a draw of a seed: uint32 (blocks, 4).

    Block b has the counter (b, row, draw mod 2^32, draw div 2^32) and the key (seed mod 2^32, seed div 2^32).
    """
    checks.philox(seed, draw, row, blocks)
    counter = np.empty((blocks, 4), np.uint32)
    counter[:, 0] = np.arange(blocks)
    counter[:, 1:] = row, draw % 2**32, draw // 2**32
    return philox4x32(counter, (seed % 2**32, seed // 2**32))


def uniform(shape: Sequence[int], seed: int, draw: int, first_row: int = 0, dtype: DTypeLike = np.float32) -> Array:
    """Uniform numbers in [0, 1), multiples of 2^-24: exact in float32 and the same in both dtypes.

    shape (rows, ...): element e of row r is word e % 4 of block e // 4 of the draw's row first_row + r, so a
    row does not depend on which others are made with it.
    """
    checks.random("uniform", shape, seed, draw, first_row, dtype)
    per_row = math.prod(shape[1:])
    values: Array = np.empty((shape[0], per_row), dtype)
    for r in range(shape[0]):
        words = philox(seed, draw, first_row + r, -(-per_row // 4))
        values[r] = ((words >> np.uint32(8)) * 2.0**-24).reshape(-1)[:per_row]
    return values.reshape(shape)


def normal(shape: Sequence[int], seed: int, draw: int, first_row: int = 0, dtype: DTypeLike = np.float32) -> Array:
    """Standard normal numbers, addressed as in `uniform`; computed in float64 and rounded once.

    (The fast kernels compute float32 ones in float32, within 1e-6 of these.)

    Box & Muller 1958 on the word pairs (0, 1) and (2, 3) of each block: u1 in (0, 1], u2 in [0, 1),
    z0 = sqrt(-2 ln u1) cos(2 pi u2), z1 = sqrt(-2 ln u1) sin(2 pi u2). So |z| <= sqrt(48 ln 2) = 5.77.
    """
    checks.random("normal", shape, seed, draw, first_row, dtype)
    per_row = math.prod(shape[1:])
    values: Array = np.empty((shape[0], per_row), dtype)
    for r in range(shape[0]):
        high = philox(seed, draw, first_row + r, -(-per_row // 4)) >> np.uint32(8)
        radius = np.sqrt(-2 * np.log((high[:, 0::2] + 1) * 2.0**-24))  # (blocks, 2), one per pair
        angle = 2 * math.pi * (high[:, 1::2] * 2.0**-24)
        pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)  # (blocks, 2, 2)
        values[r] = pairs.reshape(-1)[:per_row]
    return values.reshape(shape)


# ---- diffusion steps -----------------------------------------------------------------------------------


def add_noise(x0: Array, alpha: Array, sigma: Array, seed: int, draw: int, first_row: int = 0) -> tuple[Array, Array]:
    """x_t[n] = alpha[n] x0[n] + sigma[n] noise[n] with noise = normal(x0.shape, seed, draw, first_row).

    x0 (N, ...), alpha and sigma (N,) -> (x_t, noise). DDPM has alpha = sqrt(alpha_bar_t) and
    sigma = sqrt(1 - alpha_bar_t): Ho et al. 2020, arXiv:2006.11239, eq. 4.
    """
    checks.add_noise(x0, alpha, sigma, seed, draw, first_row)
    noise = normal(x0.shape, seed, draw, first_row, x0.dtype)
    per_sample = (len(x0),) + (1,) * (x0.ndim - 1)
    return in_order(alpha.reshape(per_sample) * x0 + sigma.reshape(per_sample) * noise), noise


def ddpm_step(
    x: Array,
    out: Array,
    alpha_bar: float,
    alpha_bar_prev: float,
    seed: int,
    draw: int,
    first_row: int = 0,
    prediction: str = "eps",
    out_uncond: Array | None = None,
    guidance: float = 1.0,
    clip: float | None = None,
) -> Array:
    """One ancestral step: a sample of q(x_prev | x, x0) at the x0 that the network's output `out` stands for.

    x, out and x_prev (N, ...). With alpha_bar at this timestep and alpha_bar_prev at the next one kept, so
    beta = 1 - alpha_bar / alpha_bar_prev (Ho et al. 2020, arXiv:2006.11239, eq. 6 and 7):
        mean = sqrt(alpha_bar_prev) beta / (1 - alpha_bar) x0
             + sqrt(1 - beta) (1 - alpha_bar_prev) / (1 - alpha_bar) x
        variance = (1 - alpha_bar_prev) / (1 - alpha_bar) beta,   which is 0 at alpha_bar_prev = 1.
    The noise is normal(x.shape, seed, draw, first_row). For prediction, guidance and clip see `estimate_x0`.
    """
    alpha_bar, alpha_bar_prev, guidance, clip, _ = checks.denoising_step(
        "ddpm_step", x, out, out_uncond, alpha_bar, alpha_bar_prev, prediction, guidance, clip, eta=1.0
    )
    checks.random("ddpm_step", x.shape, seed, draw, first_row, x.dtype)
    x0 = estimate_x0(x, out, alpha_bar, prediction, out_uncond, guidance, clip)
    beta = 1 - alpha_bar / alpha_bar_prev
    mean_x0 = math.sqrt(alpha_bar_prev) * beta / (1 - alpha_bar)
    mean_x = math.sqrt(1 - beta) * (1 - alpha_bar_prev) / (1 - alpha_bar)
    deviation = math.sqrt((1 - alpha_bar_prev) / (1 - alpha_bar) * beta)
    noise = normal(x.shape, seed, draw, first_row, x.dtype)
    return in_order(mean_x0 * x0 + mean_x * x + deviation * noise)


def ddim_step(
    x: Array,
    out: Array,
    alpha_bar: float,
    alpha_bar_prev: float,
    seed: int,
    draw: int,
    first_row: int = 0,
    prediction: str = "eps",
    out_uncond: Array | None = None,
    guidance: float = 1.0,
    clip: float | None = None,
    eta: float = 0.0,
) -> Array:
    """One step of the non-Markovian process of Song et al. 2021, arXiv:2010.02502, eq. 12 and 16:

        x_prev = sqrt(alpha_bar_prev) x0 + sqrt(1 - alpha_bar_prev - sigma^2) eps + sigma noise
        sigma = eta sqrt((1 - alpha_bar_prev) / (1 - alpha_bar)) sqrt(1 - alpha_bar / alpha_bar_prev)

    x, out and x_prev (N, ...). eps is recomputed from x0 after clipping, so that the two still make up x.
    eta = 0 is deterministic, eta = 1 is ddpm_step. The noise is normal(x.shape, seed, draw, first_row).
    """
    alpha_bar, alpha_bar_prev, guidance, clip, eta = checks.denoising_step(
        "ddim_step", x, out, out_uncond, alpha_bar, alpha_bar_prev, prediction, guidance, clip, eta
    )
    checks.random("ddim_step", x.shape, seed, draw, first_row, x.dtype)
    x0 = estimate_x0(x, out, alpha_bar, prediction, out_uncond, guidance, clip)
    eps = (x - math.sqrt(alpha_bar) * x0) / math.sqrt(1 - alpha_bar)
    sigma = 0.0
    if eta > 0:
        sigma = eta * math.sqrt((1 - alpha_bar_prev) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_prev))
    direction = math.sqrt(max(1 - alpha_bar_prev - sigma**2, 0.0))  # the max is for rounding
    x_prev = math.sqrt(alpha_bar_prev) * x0 + direction * eps
    if sigma > 0:
        x_prev = x_prev + sigma * normal(x.shape, seed, draw, first_row, x.dtype)
    return in_order(x_prev)


def linear_step(
    arrays: Sequence[Array],
    coefficients: Sequence[float],
    seed: int = 0,
    draw: int = 0,
    first_row: int = 0,
    deviation: float = 0.0,
    clip: float | None = None,
) -> Array:
    """clip(c_0 a_0 + c_1 a_1 + ...) + deviation noise: what any step of any sampler comes to.

    1 to 5 arrays (N, ...), a coefficient for each; the sum is bounded to [-clip, clip] if clip is given, and the noise
    is normal(a_0.shape, seed, draw, first_row). The coefficients of each sampler: `minigen.diffusion.samplers`.
    """
    numbers, deviation, bound = checks.linear_step(arrays, coefficients, seed, draw, first_row, deviation, clip)
    total = np.clip(sum(c * a for c, a in zip(numbers, arrays)), -bound, bound)
    if deviation > 0:
        total = total + deviation * normal(arrays[0].shape, seed, draw, first_row, arrays[0].dtype)
    return in_order(total)


def gaussian_step(mean: Array, log_variance: Array, seed: int, draw: int, first_row: int = 0) -> Array:
    """mean + exp(log_variance / 2) noise: a step whose variance the network has learned.

    mean and log_variance (N, ...); the noise is normal(mean.shape, seed, draw, first_row). Nichol & Dhariwal 2021,
    arXiv:2102.09672, section 3.1.
    """
    checks.gaussian_step(mean, log_variance, seed, draw, first_row)
    return in_order(mean + np.exp(log_variance / 2) * normal(mean.shape, seed, draw, first_row, mean.dtype))


def estimate_x0(
    x: Array,
    out: Array,
    alpha_bar: float,
    prediction: str,
    out_uncond: Array | None,
    guidance: float,
    clip: float | None,
) -> Array:
    """The clean data that x and the network's output point to, clipped to [-clip, clip] if clip is given.

    Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598) first moves `out` away from `out_uncond`:
    guidance = 1 leaves it, more exaggerates the condition. Then `prediction` says what out is:
        "eps"  x = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps        (Ho et al. 2020, eq. 4)
        "x0"   the clean data itself
        "v"    v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0        (Salimans & Ho 2022, arXiv:2202.00512)
    """
    if out_uncond is not None:
        out = out_uncond + guidance * (out - out_uncond)
    signal, noise = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    if prediction == "eps":
        x0 = (x - noise * out) / signal
    elif prediction == "x0":
        x0 = out
    else:
        x0 = signal * x - noise * out
    return x0 if clip is None else np.clip(x0, -clip, clip)


# ---- optimisers ----------------------------------------------------------------------------------------
# Each takes lists of arrays, all arrays of a network at once, whose dtypes may differ. A _ at the end of a name says
# that arrays are changed in place.


def adam_(
    parameters: Sequence[Array],
    gradients: Sequence[Array],
    means: Sequence[Array],
    squares: Sequence[Array],
    updates: Sequence[int],
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    scale: float = 1.0,
    averages: Sequence[Array | None] | None = None,
    average_decay: float = 0.0,
) -> None:
    """One step of Adam for each parameter p, given its gradient g (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1).

    The gradients are first multiplied by `scale`. m (of means) and v (of squares) are the running means of g and g^2,
    which start at 0, and t (of updates) counts p's steps, this one included:
        m = b1 m + (1 - b1) g,   v = b2 v + (1 - b2) g^2,
        p = p - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
    weight_decay p is added to g, or, decoupled, p first shrinks by lr weight_decay p (AdamW: Loshchilov & Hutter 2019,
    arXiv:1711.05101, algorithm 2). Last, a = d a + (1 - d) p with d = average_decay for the a of averages, unless that
    is None. All but the gradients are changed in place, and must be contiguous.
    """
    checks.adam(parameters, gradients, means, squares, updates, averages)
    b1, b2 = betas
    for p, g, m, v, t in zip(parameters, gradients, means, squares, updates):
        g = scale * g
        if decoupled:
            p *= 1 - lr * weight_decay
        else:
            g = g + weight_decay * p
        m += (1 - b1) * (g - m)
        v += (1 - b2) * (g * g - v)
        p -= lr / (1 - b1**t) * m / (np.sqrt(v) / math.sqrt(1 - b2**t) + eps)
    for p, a in zip(parameters, averages or []):
        if a is not None:
            a += (1 - average_decay) * (p - a)


def global_norm(arrays: Sequence[Array]) -> float:
    """The root of the sum of the squares of all numbers of all arrays, in float64."""
    checks.floats("global_norm", "arrays", arrays)
    return math.sqrt(sum(float(np.sum(np.square(a, dtype=np.float64))) for a in arrays))


def scale_(arrays: Sequence[Array], factor: float) -> None:
    """array *= factor for each of the arrays, in place; they must not overlap."""
    checks.changeable("scale_", "arrays", arrays)
    for a in arrays:
        a *= factor


def lerp_(arrays: Sequence[Array], targets: Sequence[Array], weight: float) -> None:
    """array += weight (target - array) for each of the arrays, in place; they must not overlap."""
    checks.lerp(arrays, targets)
    for a, target in zip(arrays, targets):
        a += weight * (target - a)


def add_(arrays: Sequence[Array], others: Sequence[Array]) -> None:
    """array += other for each of the arrays, in place; they must not overlap."""
    checks.add(arrays, others)
    for a, other in zip(arrays, others):
        a += other


# ---- elementwise ---------------------------------------------------------------------------------------


def activation(x: Array, name: str, slope: float | None = None) -> Array:
    """The function called `name` of x, element by element; `slope` is leaky_relu's, below 0."""
    checks.activation(x, name, slope)
    with np.errstate(over="ignore", under="ignore"):
        return in_order(ACTIVATIONS[name](x) if slope is None else np.where(x > 0, x, x * x.dtype.type(slope)))


def activation_backward(g: Array, v: Array, name: str, slope: float | None = None) -> Array:
    """g times the derivative of function `name`; v is its output for relu, sigmoid and tanh, else its input."""
    checks.activation_backward(g, v, name, slope)
    with np.errstate(over="ignore", under="ignore"):
        return in_order(g * SLOPES[name](v) if slope is None else np.where(v > 0, g, g * g.dtype.type(slope)))


def erf(x: Array) -> Array:
    """erf(x) = 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x, element by element."""
    return np.asarray(np.vectorize(math.erf, otypes=[x.dtype])(x))


def normal_cdf(x: Array) -> Array:
    return 0.5 + 0.5 * erf(x * math.sqrt(0.5))


def tanh_cdf(x: Array) -> Array:
    """The normal distribution function, approximately (Hendrycks & Gimpel 2016)."""
    return 0.5 + 0.5 * np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def tanh_cdf_slope(x: Array) -> Array:
    p = tanh_cdf(x)
    return 2 * p * (1 - p) * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)


ACTIVATIONS: dict[str, Callable] = dict(
    relu=lambda x: np.maximum(x, 0),
    sigmoid=lambda x: 1 / (1 + np.exp(-x)),
    tanh=np.tanh,
    exp=np.exp,
    erf=erf,
    silu=lambda x: x / (1 + np.exp(-x)),
    softplus=lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    gelu=lambda x: x * normal_cdf(x),
    gelu_tanh=lambda x: x * tanh_cdf(x),
)
SLOPES: dict[str, Callable] = dict(
    relu=lambda y: y > 0,
    sigmoid=lambda y: y * (1 - y),
    tanh=lambda y: 1 - y * y,
    exp=np.exp,
    erf=lambda x: 2 / math.sqrt(math.pi) * np.exp(-x * x),
    silu=lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x))),
    softplus=sigmoid,
    gelu=lambda x: normal_cdf(x) + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi),
    gelu_tanh=lambda x: tanh_cdf(x) + x * tanh_cdf_slope(x),
)


def arithmetic(a: Array, b: Array, name: str) -> Array:
    """a + b, a - b or a b, as `name` says: 'add', 'subtract' or 'multiply'. b broadcasts to a's shape."""
    checks.arithmetic(a, b, name)
    return in_order(getattr(np, name)(a, b))


def sum_positions(x: Array) -> Array:
    """(N,M,C) -> (N,C), the sum over M; taken in float64, whatever the dtype."""
    checks.sum_positions(x)
    return in_order(x.sum(axis=1, dtype=np.float64).astype(x.dtype))


# ---- moving numbers ------------------------------------------------------------------------------------


def copy(x: Array) -> Array:
    """A contiguous copy of x."""
    checks.copy(x)
    return np.array(x, order="C")


def join(xs: Sequence[Array]) -> Array:
    """Arrays (..., C_i), whose other axes agree, joined along the last axis."""
    checks.join(xs)
    return in_order(np.concatenate(xs, axis=-1))


def upsample(x: Array, factors: Sequence[int]) -> Array:
    """(N,*S,C) -> (N,*(S factors),C): every pixel becomes a block of equal ones."""
    checks.upsample(x, factors)
    for axis, factor in enumerate(factors, start=1):
        x = np.repeat(x, factor, axis)
    return in_order(x)


def sum_blocks(x: Array, factors: Sequence[int]) -> Array:
    """(N,*(S factors),C) -> (N,*S,C): the sum of every block of pixels."""
    checks.sum_blocks(x, factors)
    for axis, factor in enumerate(factors, start=1):
        x = x.reshape(*x.shape[:axis], x.shape[axis] // factor, factor, *x.shape[axis + 1 :]).sum(axis=axis + 1)
    return in_order(x)


def index_add(shape: Sequence[int], indices: Array, g: Array) -> Array:
    """Zeros of shape (V,C) with row i of g (M,C) added to row indices[i], 0 <= indices[i] < V; in the order of i.

    indices (M,) is int64 or int32. It carries a gradient back through y = x[indices].
    """
    checks.index_add(shape, indices, g)
    y = np.zeros(shape, g.dtype)
    np.add.at(y, indices, g)
    return y


# ---- resampling ----------------------------------------------------------------------------------------


def upfirdn2d(x: Array, taps: Array, up: IntOrInts = 1, down: IntOrInts = 1, padding: Sequence[Any] = (0, 0)) -> Array:
    """Upsamples, filters and downsamples an image: along each of H and W,

        u[up i] = x[i] and zeros between (up - 1 after every sample),
        y[p] = sum_t taps[k - 1 - t] u[down p + t - before],   zeros beyond the edges of u.

    x (N,H,W,C), taps (k,) -> y (N,Ho,Wo,C) with Ho = (H up + before + after - k) // down + 1. up and down are ints, or
    one for each axis; padding is (before, after), or one of these for each axis, and crops where it is negative. The
    taps are those of a convolution: the last one meets the first sample. They serve both axes, as the 2-D filter
    taps taps^T. Karras et al. 2020, arXiv:1912.04958, appendix B; "upfirdn2d" in their code.
    """
    for axis, along in enumerate(checks.upfirdn2d(x, taps, up, down, padding), start=1):
        x = np.moveaxis(resampled(np.moveaxis(x, axis, 0), taps, along), 0, axis)
    return in_order(x)


def resampled(x: Array, taps: Array, along: Resampling) -> Array:
    """`upfirdn2d` along the first axis."""
    up, down, before, after, out = along
    spread = np.zeros((max(before, 0) + len(x) * up + max(after, 0), *x.shape[1:]), x.dtype)
    spread[max(before, 0) :][: len(x) * up : up] = x
    spread = spread[max(-before, 0) :]  # what `after` crops, no output reaches
    y = np.zeros((out, *x.shape[1:]), x.dtype)
    for t, tap in enumerate(taps[::-1]):
        y += tap * spread[t::down][:out]
    return y


# ---- modulation ----------------------------------------------------------------------------------------


def modulate(
    x: Array,
    scale: Array | None = None,
    noise: Array | None = None,
    bias: Array | None = None,
    slope: float = 1.0,
    gain: float = 1.0,
) -> Array:
    """y = gain leaky_relu(u) with u = scale x + noise + bias: what a modulated layer does besides its convolution.

    x and y (N,*S,C); scale (N,C), of each channel of an image; noise (N,*S,1), for all channels of a pixel; bias (C,).
    Where u is not positive it is multiplied by slope: 1 leaves it as it is. Karras et al. 2020, arXiv:1912.04958,
    figure 2.
    """
    checks.modulate(x, scale, noise, bias, slope)
    u = modulated(x, scale, noise, bias)
    return in_order(np.where(u > 0, u, u * x.dtype.type(slope)) * x.dtype.type(gain))


def modulate_backward(
    g: Array,
    x: Array,
    scale: Array | None = None,
    noise: Array | None = None,
    bias: Array | None = None,
    slope: float = 1.0,
    gain: float = 1.0,
) -> tuple[Array, Array | None, Array | None, Array | None]:
    """The gradients (dx, dscale, dnoise, dbias) for the gradient g of y; None for what is None.

    With du = gain g, times slope where u is not positive, each is a sum of du over what it was the same for:
        dx = scale du,   dscale = sum_S du x,   dnoise = sum_C du,   dbias = sum_N,S du.
    """
    checks.modulate_backward(g, x, scale, noise, bias, slope)
    positive = modulated(x, scale, noise, bias) > 0
    du = np.where(positive, g, g * g.dtype.type(slope)) * g.dtype.type(gain)
    positions, but_channels = tuple(range(1, x.ndim - 1)), tuple(range(x.ndim - 1))
    dx = du if scale is None else du * per_image(scale, x)
    dscale = None if scale is None else in_order((du * x).sum(positions))
    dnoise = None if noise is None else in_order(du.sum(-1, keepdims=True))
    return in_order(dx), dscale, dnoise, None if bias is None else du.sum(but_channels)


def modulated(x: Array, scale: Array | None, noise: Array | None, bias: Array | None) -> Array:
    """u = scale x + noise + bias."""
    u = x if scale is None else x * per_image(scale, x)
    u = u if noise is None else u + noise
    return u if bias is None else u + bias


def per_image(scale: Array, x: Array) -> Array:
    """(N,C) -> (N,1,...,1,C), with as many axes as x."""
    return scale.reshape(len(x), *(1,) * (x.ndim - 2), x.shape[-1])


def in_order(x: Array) -> Array:
    """Contiguous, which NumPy's results are not when their inputs were transposed."""
    return np.asarray(x, order="C")
