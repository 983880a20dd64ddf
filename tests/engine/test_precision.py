"""Rounding to short formats: bits worked by hand, the definition, and PyTorch's own casts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kinema.engine.precision import rounded

HALFWAY = {"tf32": 13, "bf16": 16}  # mantissa bits that are dropped


def of_bits(*bits):
    return np.array(bits, np.uint32).view(np.float32)


def bits_of(values):
    return [int(value) for value in values.view(np.uint32)]


@pytest.mark.parametrize(
    ("precision", "before", "after"),
    [
        # 1.0 is 0 01111111 000...; in bf16 the sixteen last bits go.
        ("bf16", 0x3F800000, 0x3F800000),
        ("bf16", 0x3F807FFF, 0x3F800000),  # less than half
        ("bf16", 0x3F808000, 0x3F800000),  # half, and the mantissa is even
        ("bf16", 0x3F808001, 0x3F810000),  # more than half
        ("bf16", 0x3F818000, 0x3F820000),  # half, and the mantissa is odd
        ("bf16", 0xBF818000, 0xBF820000),  # the sign plays no part
        ("bf16", 0x3FFFFFFF, 0x40000000),  # carries into the exponent: 2
        ("bf16", 0x7F7FFFFF, 0x7F800000),  # the largest fp32 becomes infinite
        ("bf16", 0x00008001, 0x00010000),  # subnormal
        ("tf32", 0x3F801000, 0x3F800000),  # half of 2^-10, even
        ("tf32", 0x3F801001, 0x3F802000),
        ("tf32", 0x3F803000, 0x3F804000),  # half, odd
        ("tf32", 0x7F800000, 0x7F800000),
        ("fp16", 0x3F801000, 0x3F800000),  # fp16 has TF32's mantissa
        ("fp16", 0x3F803000, 0x3F804000),
        ("fp16", 0x477FE000, 0x477FE000),  # 65,504, the largest
        ("fp16", 0x477FF000, 0x7F800000),  # 65,520 is halfway to 65,536, which is none
        ("fp16", 0x33000000, 0x00000000),  # 2^-25 is halfway to the smallest, 2^-24
        ("fp16", 0x33000001, 0x33800000),
        ("fp32", 0x3F801001, 0x3F801001),
    ],
)
def test_bits_worked_by_hand(precision, before, after):
    assert bits_of(rounded(of_bits(before), precision)) == [after]


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_no_other_number_of_the_format_is_nearer(precision):
    """The definition: the two neighbours in the format, by float64's arithmetic."""
    rng = np.random.default_rng(0)
    values = (rng.standard_normal(4000) * 10.0 ** rng.integers(-30, 30, 4000)).astype(np.float32)
    step = 1 << HALFWAY[precision]
    for value, got in zip(values, rounded(values, precision), strict=True):
        below = int(np.abs(value).view(np.uint32)) // step * step
        near = of_bits(below, below + step).astype(np.float64) * np.sign(np.float64(value))
        best = np.abs(near - np.float64(value)).min()
        assert got in near
        assert abs(np.float64(got) - np.float64(value)) == best


@pytest.mark.parametrize(("precision", "name"), [("bf16", "bfloat16"), ("fp16", "float16")])
def test_pytorchs_casts_are_the_same_bits(precision, name):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    values = rng.integers(0, 2**32, 200_000, np.uint32).view(np.float32)  # all of fp32
    halfway = of_bits(*(0x3F800000 + 0x1000 * step for step in range(2000)))
    values = np.concatenate([values[~np.isnan(values)], halfway])
    cast = torch.from_numpy(values).to(getattr(torch, name)).float().numpy()
    np.testing.assert_array_equal(rounded(values, precision).view(np.uint32), cast.view(np.uint32))


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_what_is_no_number_stays_so_and_the_given_array_is_left_alone(precision):
    values = of_bits(0x7FC00000, 0x7FFFFFFF, 0xFF800000, 0x80000000)
    before = bits_of(values)
    got = rounded(values, precision)
    assert np.isnan(got[:2]).all()
    assert got[2] == -np.inf
    assert bits_of(got[3:]) == [0x80000000]
    assert bits_of(values) == before


def test_rounding_twice_changes_nothing():
    values = np.random.default_rng(2).standard_normal((3, 5, 7)).astype(np.float32)[:, ::2]
    for precision, again in itertools.product(("tf32", "bf16", "fp16"), repeat=2):
        once = rounded(values, precision)
        assert once.shape == values.shape
        if precision == again:
            np.testing.assert_array_equal(rounded(once, again), once)
    # Seven bits are among the ten.
    np.testing.assert_array_equal(rounded(rounded(values, "bf16"), "tf32"), rounded(values, "bf16"))


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"`precision` must be one of fp32, .*; got 'int8'"):
        rounded(np.zeros(1, np.float32), "int8")
    with pytest.raises(TypeError, match=r"`values` must be float32, got float64"):
        rounded(np.zeros(1), "bf16")
