"""Later."""
import argparse


def options(parser: argparse.ArgumentParser) -> None:
    """None."""


async def run(options: argparse.Namespace) -> None:
    """Nothing."""
