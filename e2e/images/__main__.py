"""Make the images, `python -m e2e.images [NAME…] [--archive FILE]`, or run in one, `… --run NAME -- COMMAND…`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from e2e.clusters.bare import prerequisites
from e2e.images import IN_KIND, NAMES, build_images, run, write_archive

_ALL = (*NAMES, *IN_KIND)


def main() -> int:
    """Make images; tell their digests and sizes, write an archive of them, or run a command in one."""
    parser = argparse.ArgumentParser(prog="python -m e2e.images", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        help=f"which images ({', '.join(_ALL)}; default: {', '.join(NAMES)}), or the command with --run",
    )
    parser.add_argument("--archive", type=Path, help="write one OCI archive of them, for `ctr images import`")
    parser.add_argument("--run", metavar="NAME", choices=_ALL, help="run a command in this image, without a cluster")
    parser.add_argument(
        "--bind", action="append", default=[], metavar="HOST:INSIDE", help="with --run: show a path inside"
    )
    arguments = parser.parse_args()
    prerequisites.check()
    if arguments.run:
        return _run(arguments.run, arguments.names, arguments.bind)
    images = build_images(arguments.names or NAMES)
    for image in images.values():
        print(f"{image.name}  {image.digest[:19]}  {sum(layer.size for layer in image.layers) / 1e6:.0f} MB")
    if arguments.archive:
        with arguments.archive.open("wb") as stream:
            write_archive(list(images.values()), stream)
    return 0


def _run(name: str, command: list[str], binds: list[str]) -> int:
    pairs = {Path(source).resolve(): inside for source, _, inside in (bind.partition(":") for bind in binds)}
    done = run(build_images([name])[name], command, binds=pairs, check=False)
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
