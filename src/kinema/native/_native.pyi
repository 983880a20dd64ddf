from collections.abc import Sequence

import numpy as np

LANES: int

def targets() -> list[str]: ...
def can_pool(sizes: Sequence[int], kernel: Sequence[int], window: Sequence[int]) -> bool: ...
def brox_flow(
    target: str,
    first: np.ndarray,
    second: np.ndarray,
    flow: np.ndarray,
    scales: Sequence[tuple[int, int]],
    presmoothing: Sequence[float],
    shrinking: Sequence[float],
    alpha: float,
    gamma: float,
    nu: float,
    epsilon: float,
    warps: int,
    inner: int,
    omega: float,
    tolerance: float,
    most_sweeps: int,
    sweeps_a_check: int,
    threads: int,
) -> None: ...

class Network:
    def __init__(self, target: str, shape: Sequence[int], threads: int) -> None: ...
    def add_convolution(self, weight: np.ndarray, bias: np.ndarray, relu: bool) -> None: ...
    def add_linear(self, weight: np.ndarray, bias: np.ndarray, relu: bool) -> None: ...
    def add_pooling(
        self, kernel: Sequence[int], padding: Sequence[int], sizes: Sequence[int]
    ) -> None: ...
    def add_softmax(self) -> None: ...
    def run(self, clips: np.ndarray, outputs: Sequence[tuple[int, np.ndarray]]) -> None: ...
    def describe(self, layer: int) -> str: ...
    def multiply_adds(self, layer: int) -> float: ...
    def profile(self, layer: int) -> tuple[float, float, float, float]: ...
    @property
    def target(self) -> str: ...
    @property
    def packed_bytes(self) -> int: ...

class LayerGradients:
    def __init__(self, target: str) -> None: ...
    def forward(
        self,
        input: np.ndarray,
        weight: np.ndarray,
        bias: np.ndarray,
        relu: bool,
        window: Sequence[int],
        output: np.ndarray,
        winners: np.ndarray | None,
        threads: int,
    ) -> None: ...
    def backward(
        self,
        input: np.ndarray,
        weight: np.ndarray,
        relu: bool,
        window: Sequence[int],
        output: np.ndarray | None,
        winners: np.ndarray | None,
        gradient: np.ndarray,
        to_input: np.ndarray | None,
        to_weight: np.ndarray | None,
        to_bias: np.ndarray | None,
        threads: int,
    ) -> None: ...
    def input_gradient(
        self, gradient: np.ndarray, weight: np.ndarray, to_input: np.ndarray, threads: int
    ) -> None: ...

class trajectories:  # a module, which a stub file cannot hold
    class Picture:
        def __init__(self, target: str, width: int, height: int) -> None: ...
        def read(self, image: np.ndarray) -> None: ...
        def image(self, level: int, to: np.ndarray) -> None: ...

    class Pair:
        def __init__(self, target: str, width: int, height: int) -> None: ...
        def solve(self, first: trajectories.Picture, second: trajectories.Picture) -> None: ...
        def solve_warped(
            self,
            first: trajectories.Picture,
            second: trajectories.Picture,
            homography: Sequence[float],
        ) -> None: ...
        def flow(self, level: int, warped: bool, to: np.ndarray) -> None: ...
        def warped_image(self, to: np.ndarray) -> None: ...

    class Tracks:
        def __init__(self, target: str, width: int, height: int) -> None: ...
        def begin(self, picture: trajectories.Picture) -> None: ...
        def step(
            self,
            first: trajectories.Picture,
            second: trajectories.Picture,
            pair: trajectories.Pair,
        ) -> tuple[int, int]: ...
        def ended(self, rows: np.ndarray, points: np.ndarray, removed: np.ndarray) -> None: ...
        @property
        def num_alive(self) -> int: ...

    @staticmethod
    def corners(target: str, image: np.ndarray, to: np.ndarray) -> float: ...
    @staticmethod
    def median(target: str, plane: np.ndarray, to: np.ndarray) -> None: ...
    @staticmethod
    def match(
        target: str,
        keypoints: tuple[np.ndarray, np.ndarray],
        others: tuple[np.ndarray, np.ndarray],
        window: float,
        nearest: np.ndarray,
    ) -> None: ...
    @staticmethod
    def levels(width: int, height: int) -> list[tuple[int, int, float]]: ...
