"""Three processes share a list, and one of them is killed with -9 at ten random moments.

    experiments/shared_kills.py [--videos 120] [--kills 10] [--seed 0]

Drawn videos are extracted by one ordinary run; then by three processes of `kinema extract --shared`
on a plain folder, and on a real S3 server on loopback (moto), while one of the three, drawn at
random, is killed again and again and another one started. Writes docs/results/shared-kills.json:
whether each video's file has the single run's bytes, and how often each video stands in the
manifests.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

import kinema
from kinema.files import write_json
from kinema.sharing import chunks, claims, manifests
from kinema.store import open_store
from kinema.video.synthetic import write_video

ROOT = Path(__file__).parent.parent

# Claims of the killed are to be taken over in seconds here, not in minutes.
PROGRAM = """
import sys
from kinema.cli.app import main
from kinema.sharing import claims, loop
claims.BEAT_SECONDS, claims.SOON_SECONDS, claims.STALE_SECONDS = 0.3, 0.1, 5.0
loop.POLL_SECONDS = 0.5
sys.exit(main(sys.argv[1:]))
"""


def draw(folder: Path, count: int) -> None:
    """Videos of noise, of 16 to 55 frames."""
    for number in range(count):
        generator = np.random.default_rng(number)
        frames = generator.integers(0, 256, (16 + number % 40, 32, 48, 3), np.uint8)
        write_video(folder / f"{number % 7}" / f"{number:04d}.mp4", frames)


def start(videos: Path, out: str) -> subprocess.Popen:
    """One of the processes."""
    given = ["extract", str(videos), "--out", out, "--shared", "--threads", "1"]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *given], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def killing(videos: Path, out: str, num_kills: int, chance: random.Random) -> dict:
    """A shared run with kills, and what came out."""
    processes = [start(videos, out) for _ in range(3)]
    moments, begun = [], time.monotonic()
    store = open_store(out)
    while len(moments) < num_kills:
        time.sleep(chance.uniform(0.5, 8.0))
        if not store.times(claims.BEATS):  # nobody is at work yet, or all is done
            if all(process.poll() is not None for process in processes):
                break
            continue
        victim = chance.randrange(3)
        if processes[victim].poll() is None:
            processes[victim].send_signal(signal.SIGKILL)
            processes[victim].communicate()
            moments.append(round(time.monotonic() - begun, 1))
            processes[victim] = start(videos, out)
    codes = []
    for process in processes:
        errors = process.communicate()[1]
        codes.append(process.returncode)
        if process.returncode:
            print(errors.decode(), file=sys.stderr)
    return {"killed_after_seconds": moments, "exit_codes": codes}


def compared(single: Path, out: str) -> dict:
    """What a shared run left, beside a single run's folder."""
    store = open_store(out)
    parts = chunks.load(store)
    names = Counter(
        row.name
        for chunk in range(len(parts))
        for row in manifests.read(store.read(manifests.path_of(chunk)), parts[chunk])
    )
    files = sorted(path.relative_to(single) for path in single.rglob("*.safetensors"))
    same = sum(store.read(path.as_posix()) == (single / path).read_bytes() for path in files)
    generations = Counter(
        int(key.partition(".")[2]) for key in store.times(claims.CLAIMS) if key[0].isdigit()
    )
    return {
        "files": len(files),
        "files_with_the_same_bytes": same,
        "videos_in_the_manifests": len(names),
        "most_often_there": max(names.values()),
        "claims_by_generation": {str(key): generations[key] for key in sorted(generations)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--videos", type=int, default=120)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    result: dict = {"command": "experiments/shared_kills.py", **vars(given)}
    with tempfile.TemporaryDirectory(prefix="kinema-") as folder:
        root = Path(folder)
        draw(root / "videos", given.videos)
        kinema.extract(root / "videos", out=root / "single", threads=1)

        out = str(root / "shared")
        result["folder"] = killing(root / "videos", out, given.kills, chance)
        result["folder"] |= compared(root / "single", out)
        print(json.dumps(result["folder"]), flush=True)

        import boto3
        from moto.server import ThreadedMotoServer

        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "of-a-test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        boto3.client("s3").create_bucket(Bucket="bucket")
        out = "s3://bucket/features"
        result["s3"] = killing(root / "videos", out, given.kills, chance)
        result["s3"] |= compared(root / "single", out)
        server.stop()
    write_json(ROOT / "docs" / "results" / "shared-kills.json", result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
