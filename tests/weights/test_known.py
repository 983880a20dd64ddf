"""Known weight files, pulled from a server on this machine."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from test_convert import small_network

from kinema import network as networks
from kinema.weights import file as weights
from kinema.weights.known import pull

import foreign_weights as foreign
from servers import Cut, Good, ranges

SMALL = foreign.small_c3d()


def recipe_network():
    return networks.Network((3, 16, 112, 112), small_network().layers, {"name": "small"})


@pytest.fixture
def known(serve, tmp_path, monkeypatch):
    """known(content, **fields of KnownFile) makes "small" a known file; gives its server."""
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(networks, "NETWORKS", {"small": recipe_network})

    def make(content, handler=Good, **fields):
        web = serve(handler, content, name="v1/small.pickle?raw=true")
        file = weights.KnownFile(
            web.url, "a small file", convert={"network": recipe_network()}, **fields
        )
        monkeypatch.setattr(weights, "KNOWN_FILES", {"small": file})
        return web

    return make


def small_file(tmp_path, kind):
    path = tmp_path / "original"
    if kind == "torch":
        pytest.importorskip("torch")
        foreign.write_davidea(path, SMALL)
    else:
        foreign.write_caffe(path, SMALL)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["torch", "caffe"])
def test_pull(known, tmp_path, kind):
    content = small_file(tmp_path, kind)
    digest = hashlib.sha256(content).hexdigest()
    web = known(content, sha256=digest[:8], md5=hashlib.md5(content).hexdigest())
    with pytest.raises(FileNotFoundError, match="kinema weights pull small"):
        weights.resolve("small")
    path = pull("small")
    assert path == tmp_path / "cache" / "small.safetensors"
    pulled = weights.resolve("small")
    assert pulled.name == "small"
    assert pulled.source_sha256 == digest
    assert "small.pickle" in pulled.source
    for name, array in SMALL.items():
        np.testing.assert_array_equal(pulled[name], array, err_msg=name)
    assert list((tmp_path / "cache" / "downloads").iterdir()) == []
    assert pull("small") == path
    assert len(web.requests) == 1


def test_pull_goes_on(known, tmp_path):
    web = known(small_file(tmp_path, "caffe"), Cut)
    web.cut = 20_000
    pull("small")
    assert ranges(web) == [None, "bytes=20000-"]
    assert web.num_sent == len(web.content)
    np.testing.assert_array_equal(weights.resolve("small")["fc6.weight"], SMALL["fc6.weight"])


def test_pull_unknown(known):
    known(b"")
    with pytest.raises(
        ValueError, match=r"`name` 'large' is not one of the files to pull: small\."
    ):
        pull("large")


@pytest.mark.parametrize("checksum", [{"sha256": "dcc47ddc"}, {"md5": "0" * 32}])
def test_pull_with_wrong_checksum(known, tmp_path, checksum):
    known(small_file(tmp_path, "caffe"), **checksum)
    with pytest.raises(ValueError, match="of what came is"):
        pull("small")
    assert list((tmp_path / "cache").rglob("small*")) == []


def test_pull_of_what_cannot_be_converted(known, tmp_path):
    web = known(b"<html>Please log in</html>")
    downloaded = tmp_path / "cache" / "downloads" / "small.pickle"
    for _ in range(2):
        with pytest.raises(ValueError, match=r"small\.pickle: .* delete it and pull again"):
            pull("small")
        assert downloaded.is_file()
        assert not (tmp_path / "cache" / "small.safetensors").exists()
    assert len(web.requests) == 1
    # It may have been a package that was missing: with what convert needs, nothing is fetched.
    downloaded.write_bytes(small_file(tmp_path, "caffe"))
    pull("small")
    assert len(web.requests) == 1
    assert weights.resolve("small").name == "small"
