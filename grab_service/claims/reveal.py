"""Reveal of a code that is shown on request.

Postgres decides between it and the return of the same claim by a compare-and-set on the one row: the first one excludes the
other.
"""

from typing import Any, Final

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from grab_service.cell.store import Cell
from grab_service.claims.give_back import BEHIND_RETRY_S
from grab_service.claims.records import find_held, find_stored
from grab_service.grabpath.view import View
from grab_service.refusal import RefusalError
from grab_service.sql.tables import claims
from grab_service.vocabulary.claims import ClaimRef, VoucherState

_GONE: Final = {VoucherState.RETURNED: "voucher-returned", VoucherState.REVOKED: "voucher-revoked"}


async def reveal(engine: AsyncEngine, view: View, cell: Cell, ref: ClaimRef, member_id: str) -> dict[str, Any]:
    """The voucher of a member's own claim with its code, which from now on has been seen.

    Raises:
        RefusalError: voucher-not-found; ledger-behind if it is too young to be on record; voucher-returned, voucher-revoked.
        CellError: it cannot be told whether the voucher is only too young.
    """
    async with engine.begin() as connection:
        await connection.execute(
            update(claims)
            .where(
                claims.c.seq == ref.seq,
                claims.c.epoch == ref.epoch,
                claims.c.campaign_id == ref.campaign_id,
                claims.c.member_id == member_id,
                claims.c.voucher_state.not_in([state.value for state in _GONE]),
                claims.c.revealed_at_ms.is_(None),
            )
            .values(revealed_at_ms=view.now_ms())
        )
        stored = await find_stored(connection, ref, member_id)
    body = await find_held(view, cell, ref, member_id) if stored is None else stored.body
    if body is None or body["voucher"] is None:
        raise RefusalError("voucher-not-found")
    if stored is None:
        raise RefusalError("ledger-behind", retry_after_s=BEHIND_RETRY_S)
    voucher: dict[str, Any] = body["voucher"]
    if voucher["code"] is None:
        raise RefusalError(_GONE[VoucherState(voucher["state"])])
    return voucher
