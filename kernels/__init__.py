"""Array functions for what generative models spend their time in; no autograd, nothing imported from minigen
(but by `kernels.benchmark`, for the networks that it times).

The same functions with the same arguments exist side by side:

    kernels.reference   plain NumPy: the specification, written to be read
    kernels.cpu         Numba, for two threads or sixty

All of them keep the channels last, take float32 or float64 (one dtype per call), leave their inputs alone
and return new contiguous arrays of that dtype. In `cpu`, what is made of a sample (a row of the first axis) does not
depend on the others, to the bit; in `reference`, whose products are BLAS's, up to rounding. (A _ at the end of a
name, as in `adam_`, says that the kernel changes arrays in place.) `kernels.checks` validates the arguments of both,
once. Importing `kernels` imports neither: `from kernels import reference`, or `cpu`.
"""

# Every public kernel. Tests walk this tuple and fail on a name that has no check against the reference.
KERNELS = (
    "matmul",
    "conv",
    "conv_transpose",
    "conv_weight_grad",
    "group_norm",
    "group_norm_backward",
    "softmax",
    "softmax_backward",
    "attention",
    "attention_backward",
    "philox",
    "uniform",
    "normal",
    "add_noise",
    "ddpm_step",
    "ddim_step",
    "linear_step",
    "gaussian_step",
    "adam_",
    "global_norm",
    "scale_",
    "lerp_",
    "add_",
    "activation",
    "activation_backward",
    "arithmetic",
    "sum_positions",
    "copy",
    "join",
    "upsample",
    "sum_blocks",
    "index_add",
    "upfirdn2d",
    "modulate",
    "modulate_backward",
)
