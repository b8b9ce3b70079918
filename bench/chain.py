"""What the chain of interceptors costs a call: python -m bench.chain measures it alone, without the system.

Two servers give the same answer, one behind the chain with a token that it has seen before; the difference in CPU time
of a call is the chain's, with all that it makes gRPC do (headers, parsing) and its line in the log.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from azora.payment.v1 import wallet_service_pb2

from bench import peers
from bench.client import FROM_ENVOY, Request
from bench.compare import Comparison, Subject, Target, interleaved
from bench.report import print_report
from bench.statistics import added_microseconds

if TYPE_CHECKING:
    from bench.compare import Rounds
    from bench.peers import Peer

GET_WALLET = "/azora.payment.v1.WalletService/GetWallet"
BARE, CHAINED = "bare handler", "behind the chain"


def chain_comparison(bare: Peer, chained: Peer) -> Comparison:
    """Return the comparison of two echoes that serve GetWallet."""

    def added(rounds: Rounds) -> float:
        return added_microseconds(rounds[CHAINED], rounds[BARE])

    headers = {**chained.bearer, **FROM_ENVOY}
    return Comparison(
        "a repeated token, gRPC",
        tuple(
            Subject(name, Request(peer.target, GET_WALLET, headers, b"", grpc=True), peer.processes)
            for name, peer in ((CHAINED, chained), (BARE, bare))
        ),
        (Target("full chain over a bare handler, repeated token, CPU", added, 80, 45, "us"),),
    )


async def _run(*, rounds: int, callers: int, seconds: float) -> None:
    wallet = wallet_service_pb2.GetWalletResponse()
    wallet.wallet.balances.add(currency="AZR", posted=100_00, available=100_00)
    answers = {GET_WALLET: wallet.SerializeToString()}
    with tempfile.TemporaryDirectory(prefix="azb") as folder:
        async with (
            peers.echo(Path(folder), answers, chained=False) as bare,
            peers.echo(Path(folder), answers, chained=True) as chained,
        ):
            comparison = chain_comparison(bare, chained)
            measured = await interleaved(comparison, rounds=rounds, callers=callers, seconds=seconds)
    print_report(comparison.results(measured), {comparison.name: measured}, f"{rounds} rounds of {seconds:g} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m bench.chain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--callers", type=int, default=16)
    asyncio.run(_run(**vars(parser.parse_args())))
