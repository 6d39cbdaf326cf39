"""The options of ``city-chain places``. Nothing here loads the extension, so that ``--help`` answers at once."""

from __future__ import annotations

from city_chain.cli.arguments import Commands, action, file, group

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Adds the commands that examine a map of municipalities, without any city.

    Args:
        commands: The commands of the whole command line.

    Example:
        >>> import argparse
        >>> parser = argparse.ArgumentParser()
        >>> add(parser.add_subparsers(dest="command"))
        >>> args = parser.parse_args(["places", "locate", "map.geojson", "8.5", "47.4", "--leave-out", "rings"])
        >>> args.action, args.file, args.lon, args.lat, args.leave_out
        ('locate', 'map.geojson', 8.5, 47.4, 'rings')
    """
    actions = group(
        commands,
        "places",
        "examine a map of municipalities, and ask where a point is; needs no city",
        "A map is a GeoJSON FeatureCollection of Polygons and MultiPolygons. Its root is the same for every file that "
        "draws the same borders: whoever has the same root gets the same answers.",
        ["check map.geojson", "locate map.geojson 8.54 47.37"],
    )
    check = action(
        actions,
        "places",
        "check",
        "tell every fault of a map, with the feature, polygon and ring that has it",
        "Prints one line for each fault; of a map without any how many municipalities there are, and its root. Exit "
        "status 1 if the map has a fault.",
        ["check map.geojson", "check map.geojson --name NAME --json"],
    )
    locate = action(
        actions,
        "places",
        "locate",
        "tell which municipality a point is in",
        "Prints the name, or that the point is in none (exit status 1).",
        ["locate map.geojson 8.54 47.37", "locate map.geojson --leave-out rings -- -122.3 47.6"],
    )
    for parser in (check, locate):
        parser.add_argument("file", metavar="FILE", type=file, help="the map, GeoJSON")
        parser.add_argument("--name", metavar="PROPERTY", help="what names a municipality (default: the feature's id)")
    locate.add_argument(
        "--leave-out",
        choices=("nothing", "rings", "features"),
        default="nothing",
        help="what of a faulty map is left out; a map with faults is refused by default",
    )
    for which, most in (("lon", 180), ("lat", 90)):
        locate.add_argument(which, metavar=which.upper(), type=float, help=f"degrees, -{most} to {most}")
