"""Comparisons of payments, refunds, holds and transactions with the ledger, each a SELECT of a page of rows."""

from __future__ import annotations

from dataclasses import dataclass

from services.payment.proofs.model import FindingType


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rows that are compared with the ledger, page by page: what does not agree is said in `problem`."""

    type: FindingType
    collection: str
    """Of the resource names."""
    select: str
    """SELECT of id and problem, of the :count rows after the id :after in its order."""


# The entries of a payment's wallet in the transactions of one type that have the payment for their source.
_posted = """
LEFT JOIN LATERAL (
    SELECT count(*) AS number, sum(entries.amount) AS amount
    FROM transactions JOIN entries ON entries.transaction_id = transactions.id
    JOIN accounts ON accounts.id = entries.account_id AND accounts.kind = 'WALLET'
        AND accounts.owner_id = page.wallet_id AND accounts.currency = page.currency
    WHERE transactions.source_kind = 'PAYMENT' AND {condition}
) posted ON true
"""
COMPARISONS = (
    Comparison(
        FindingType.TRANSACTION_CHANGED,
        "transactions",
        """
        WITH page AS MATERIALIZED (SELECT * FROM transactions WHERE id > :after ORDER BY id LIMIT :count)
        SELECT page.id, CASE
            WHEN NOT EXISTS (SELECT FROM entries WHERE entries.transaction_id = page.id) THEN 'it has no entries'
            WHEN source_kind = 'PAYMENT' AND NOT EXISTS (SELECT FROM payments WHERE payments.id = page.source_id)
                THEN 'its payment is missing'
            WHEN type = 'REFUND' AND source_kind = 'PAYMENT' AND NOT EXISTS (SELECT FROM refunds
                WHERE (refunds.id, refunds.payment_id, refunds.state) = (page.id, page.source_id, 'COMPLETED'))
                THEN 'its refund is missing'
        END AS problem
        FROM page ORDER BY page.id
        """,
    ),
    Comparison(
        FindingType.PAYMENT_MISMATCH,
        "payments",
        f"""
        WITH page AS MATERIALIZED (SELECT * FROM payments WHERE id > :after ORDER BY id LIMIT :count)
        SELECT page.id, CASE
            WHEN posted.number <> 1 OR posted.amount <> -page.amount THEN 'it is not what its transaction posted'
            WHEN page.refunded <> back.completed THEN 'its refunded amount is not the sum of its completed refunds'
            WHEN page.refunding <> back.pending THEN 'its pending refund amount is not the sum of its pending refunds'
        END AS problem
        FROM page
        {_posted.format(condition="transactions.source_id = page.id AND transactions.type = 'PAYMENT'")}
        LEFT JOIN LATERAL (
            SELECT coalesce(sum(amount) FILTER (WHERE state = 'COMPLETED'), 0) AS completed,
                coalesce(sum(amount) FILTER (WHERE state = 'PENDING'), 0) AS pending
            FROM refunds WHERE refunds.payment_id = page.id
        ) back ON true
        ORDER BY page.id
        """,  # noqa: S608 - SQL from code
    ),
    Comparison(
        FindingType.REFUND_MISMATCH,
        "refunds",
        f"""
        WITH page AS MATERIALIZED (
            SELECT refunds.*, payments.wallet_id, payments.currency
            FROM refunds LEFT JOIN payments ON payments.id = refunds.payment_id
            WHERE refunds.id > :after ORDER BY refunds.id LIMIT :count
        )
        SELECT page.id, CASE
            WHEN page.state = 'COMPLETED' AND posted.amount IS DISTINCT FROM page.amount
                THEN 'it is not what its transaction posted'
            WHEN page.state <> 'COMPLETED' AND posted.number > 0 THEN 'it is posted and not completed'
        END AS problem
        FROM page
        {
            _posted.format(
                condition="(transactions.id, transactions.source_id, transactions.type)"
                " = (page.id, page.payment_id, 'REFUND')"
            )
        }
        ORDER BY page.id
        """,  # noqa: S608 - SQL from code
    ),
    Comparison(
        FindingType.HOLD_MISMATCH,
        "holds",
        """
        WITH page AS MATERIALIZED (SELECT * FROM holds WHERE id > :after ORDER BY id LIMIT :count)
        SELECT page.id, CASE
            WHEN NOT EXISTS (SELECT FROM accounts WHERE (accounts.id, accounts.owner_id, accounts.currency)
                = (page.account_id, page.wallet_id, page.currency)) THEN 'its account is not of its wallet and currency'
            WHEN page.state = 'CAPTURED' AND NOT EXISTS (SELECT FROM payments WHERE
                (payments.id, payments.wallet_id, payments.currency, payments.amount)
                = (page.payment_id, page.wallet_id, page.currency, page.captured))
                THEN 'its captured amount is not that of its payment'
            WHEN page.state <> 'CAPTURED' AND (page.captured <> 0 OR page.payment_id IS NOT NULL)
                THEN 'it is captured and not marked so'
        END AS problem
        FROM page ORDER BY page.id
        """,
    ),
)
